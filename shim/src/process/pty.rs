//! The terminal of a container: the runtime makes it and sends its master over
//! a socket that listens only while `create` runs.

use crate::error::{Context, Result};
use crate::process::pipes;
use crate::state::dir::StateDir;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

const NAME: &str = "console";

/// The message follows the connection at once; a runtime that connects and
/// then says nothing must not stop the loop.
const MESSAGE_TIME: Duration = Duration::from_secs(2);

/// The socket for `--console-socket`.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    pub fn listen(dir: &StateDir) -> Result<ConsoleSocket> {
        dir.remove(NAME)?;
        let path = dir.connect_path(NAME);
        let name = || format!("listen on {}", dir.file(NAME).display());
        let listener = UnixListener::bind(dir.bind_path(NAME)).context(name)?;
        listener.set_nonblocking(true).context(name)?;
        Ok(ConsoleSocket { listener, path })
    }

    /// What the runtime is given.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Takes the terminal's master from whoever connects.
    pub fn receive(&self) -> io::Result<Option<OwnedFd>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(MESSAGE_TIME))?;
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let master = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let master = master.ok_or_else(|| io::Error::other("no terminal came over the console socket"))?;
        pipes::unblock(&master)?;
        copy_size(&master);
        Ok(Some(master))
    }
}

impl AsFd for ConsoleSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// A new terminal has no size, which some programs take for one column; ours
/// is right where the output is seen on it.
fn copy_size(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}
