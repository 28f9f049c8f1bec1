//! The terminal of a container: the runtime makes the pseudoterminal and sends its master over
//! the console socket, SCM_RIGHTS (runc, docs/terminals.md).

use super::pipes::set_nonblocking;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// How long a runtime that has connected may take to send its message, on a machine that is busy: the loop
/// waits meanwhile.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The socket for `--console-socket`. It listens only while `create` runs.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
}

impl ConsoleSocket {
    /// A console socket that listens on `listener`.
    pub(crate) fn new(listener: UnixListener) -> io::Result<ConsoleSocket> {
        listener.set_nonblocking(true)?;
        Ok(ConsoleSocket { listener })
    }

    /// The pty's master, O_NONBLOCK and with the size of our own terminal; `None` if no runtime
    /// has connected yet. Errors: a message without a descriptor, or none within the timeout.
    pub(crate) fn receive_master(&self) -> io::Result<Option<OwnedFd>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let master = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let master = master.ok_or_else(|| io::Error::other("the message holds no descriptor"))?;
        set_nonblocking(&master)?;
        copy_size(&master);
        Ok(Some(master))
    }
}

impl AsFd for ConsoleSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Gives a new terminal the size of the one on our stdout, if that is one. A new one has size
/// 0×0, which some programs take for one column.
fn copy_size(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}
