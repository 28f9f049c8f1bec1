//! The notification socket of a container, NOTIFY_SOCKET in its environment.
//!
//! The container may send descriptors along, and the last close of an open file can take as long
//! as the container likes: that of a TCP socket with SO_LINGER and a full send buffer lasts until
//! the peer acknowledges. Not receiving them does not help, as the kernel then closes them in the
//! receiver's context, on its way out of recvmsg(2). So a process of its own receives, and writes
//! the notifications to a pipe. SO_PASSRIGHTS (Linux 6.16) would refuse descriptors to the sender,
//! but then also `sd_notify_barrier` (sd_notify(3)), which sends the end of a pipe and waits until
//! it is closed.

use super::{Notification, parse_message};
use crate::process::pipes::output_pipe;
use crate::signal::Signal;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// systemd's own limit for a message, in bytes.
const MESSAGE_LIMIT: usize = 4096;

/// Messages that are received in one go; after them the receiver pauses, and senders wait.
const BURST: usize = 64;
/// In milliseconds.
const PAUSE: u8 = 100;

/// The notification socket of one attempt: what the container of an earlier one has sent must
/// not count for this one.
#[derive(Debug)]
pub(crate) struct Inbox {
    path: PathBuf,
    /// For the keeper: the monitor does not receive from it. `None` only when this is dropped.
    socket: Option<OwnedFd>,
    /// The receiver's pipe: notifications, one a line.
    lines: OwnedFd,
    /// The beginning of a line whose rest was not read yet.
    partial: Vec<u8>,
    /// The receiver's pidfd.
    receiver: OwnedFd,
}

impl Inbox {
    /// Receives from `socket`, which is bound to `path`, in a process of its own. Any user may
    /// send: the directory around the socket is the monitor's alone, and the socket is mounted
    /// into the container.
    pub(crate) fn open(socket: UnixDatagram, path: &Path) -> io::Result<Inbox> {
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        let (lines, out) = output_pipe()?;
        let receiver = sys::fork_worker(socket.as_fd(), out.as_fd(), receive_messages)?;
        Ok(Inbox { path: path.to_owned(), socket: Some(socket.into()), lines, partial: Vec::new(), receiver })
    }

    /// The socket's path on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, which outlives the monitor.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// The notifications since the last call, without waiting. Errors: UnexpectedEof when the
    /// receiver has ended.
    pub(crate) fn take_notifications(&mut self) -> io::Result<Vec<Notification>> {
        let mut buffer = [0; MESSAGE_LIMIT];
        match nix::unistd::read(&self.lines, &mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.partial.extend_from_slice(&buffer[..count]),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let whole = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&lines).lines().filter_map(Notification::parse).collect())
    }
}

impl AsFd for Inbox {
    /// Readable when there are notifications, or when the receiver has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lines.as_fd()
    }
}

impl Drop for Inbox {
    /// Kills the receiver and does not wait for it: it may be in a close that lasts. Nor is the last
    /// close of the socket ours.
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            sys::close_elsewhere(socket);
        }
        let _ = sys::signal_pidfd(&self.receiver, Signal::KILL.0);
    }
}

/// What the receiver runs: its stdin is the socket, its stdout the pipe to the monitor. It ends
/// when the monitor has, and nobody can read the pipe any more.
fn receive_messages() {
    let (socket, out) = (io::stdin(), io::stdout());
    let (socket, out) = (socket.as_fd(), out.as_fd());
    let mut text = [0; MESSAGE_LIMIT];
    loop {
        // POLLERR on `out`, which poll(2) always reports, means that its reading end is closed.
        let mut fds = [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(out, PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[1].any() == Some(true) => return,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return,
        }
        for _ in 0..BURST {
            match sys::receive_datagram(socket, &mut text) {
                // A pid of 0 is one outside our pid namespace, so no process of the container.
                // Which of these it was can't be relied on: it may have ended by now.
                Ok(datagram) if datagram.sender > 0 && !datagram.truncated => {
                    let notifications = parse_message(&text[..datagram.length]);
                    let lines: String = notifications.iter().map(|one| one.line() + "\n").collect();
                    // At most PIPE_BUF bytes, so that it is one write (pipe(7)).
                    if !lines.is_empty() && nix::unistd::write(out, lines.as_bytes()).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // So that a flood costs its senders time, and not the host.
        if poll(&mut [PollFd::new(out, PollFlags::empty())], PollTimeout::from(PAUSE)) != Ok(0) {
            return;
        }
    }
}
