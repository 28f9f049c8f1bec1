//! A socket that listens, also where no descriptor is free.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Without a free descriptor a client would wait, and an event loop would be told of it for ever: it is turned
/// away by the end of its connection instead, with a descriptor that is kept for that.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    spare: Option<OwnedFd>,
}

impl Listener {
    /// Of a socket that listens, O_NONBLOCK.
    pub(crate) fn new(socket: OwnedFd) -> Listener {
        Listener { socket, spare: spare() }
    }

    /// The next client; `None`: there is none.
    pub(crate) fn accept(&mut self) -> Option<OwnedFd> {
        let accept = |socket: &OwnedFd| accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        loop {
            match accept(&self.socket) {
                Ok(client) => return Some(client),
                Err(Errno::MFILE | Errno::NFILE) if self.spare.is_some() => {
                    self.spare = None;
                    let turned_away = accept(&self.socket).map(drop);
                    self.spare = spare();
                    // A descriptor is looked for before a client is, who may not be there.
                    if turned_away.is_err() {
                        return None;
                    }
                }
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}
