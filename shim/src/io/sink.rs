//! What the container's output is copied to, the monitor's own stdout and stderr and attached clients,
//! written without ever blocking the loop.

use nix::fcntl::OFlag;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Bytes that may be pending: the last read of the container's output, the rest of a pipe at
/// its end, and messages of the monitor.
const PENDING_LIMIT: usize = 256 << 10;

/// What the output is, and so how a write is kept from blocking.
#[derive(Debug)]
enum Target {
    /// A pipe or character device, opened a second time: O_NONBLOCK is a flag of the open file,
    /// which is shared with other processes (open(2)).
    Reopened(OwnedFd),
    /// A socket, such as the journal's, which open(2) refuses (ENXIO): MSG_DONTWAIT for each send.
    Socket(OwnedFd),
    /// A regular file. It never blocks, and epoll refuses it (EPERM).
    File(OwnedFd),
    /// The descriptor was closed from the start.
    Closed,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Sink {
    target: Target,
    /// A write failed, as nobody reads any more. The descriptor stays open: a socket is shared
    /// with fd 1, so it would stay in the epoll set for good when ours is closed.
    broken: bool,
    pending: Vec<u8>,
}

impl Sink {
    /// The sink to the open file of `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>) -> Sink {
        Sink { target: open_target(fd).unwrap_or(Target::Closed), broken: false, pending: Vec::new() }
    }

    /// The sink to a socket of ours.
    pub(crate) fn to_socket(socket: OwnedFd) -> Sink {
        Sink { target: Target::Socket(socket), broken: false, pending: Vec::new() }
    }

    /// The descriptor to wait for while it is blocked, if it can block.
    pub(crate) fn pollable(&self) -> Option<BorrowedFd<'_>> {
        match &self.target {
            Target::Reopened(fd) | Target::Socket(fd) => Some(fd.as_fd()),
            Target::File(_) | Target::Closed => None,
        }
    }

    /// Whether bytes are pending, for which there was no room.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes what there is room for and keeps the rest pending. False: nobody reads any more, or
    /// the rest is beyond the limit, and was dropped. With the monitor's own outputs the limit is not
    /// reached, as the container's output is not read while they are blocked.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        if self.pending.is_empty() {
            rest = &bytes[self.write(bytes)..];
        }
        if self.broken || self.pending.len() + rest.len() > PENDING_LIMIT {
            return false;
        }
        self.pending.extend_from_slice(rest);
        true
    }

    /// Writes pending bytes, as many as there is room for.
    pub(crate) fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        if written < pending.len() && !self.broken {
            self.pending = pending[written..].to_vec();
        }
    }

    /// Writes what is pending, and waits up to a second for the reader.
    pub(crate) fn flush_at_end(&mut self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        for _ in 0..10 {
            let Some(fd) = self.pollable().filter(|_| self.is_blocked()) else {
                break;
            };
            let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::from(100u8));
            self.flush();
        }
    }

    /// The number of bytes written before it would have blocked.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() && !self.broken {
            let rest = &bytes[done..];
            let written = match &self.target {
                Target::Reopened(fd) | Target::File(fd) => nix::unistd::write(fd, rest),
                Target::Socket(fd) => send(fd.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
                Target::Closed => return bytes.len(),
            };
            match written {
                Ok(count) => done += count,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => break,
                Err(_) => self.broken = true,
            }
        }
        done
    }
}

fn open_target(fd: BorrowedFd<'_>) -> io::Result<Target> {
    let kind = SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFSOCK {
        return Ok(Target::Socket(fd.try_clone_to_owned()?));
    }
    if kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR {
        let reopened = OpenOptions::new()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        match reopened {
            Ok(file) => return Ok(Target::Reopened(file.into())),
            // A terminal that belongs to another user (after su): a write to it may block.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Target::File(fd.try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{pipe, read};

    #[test]
    fn a_full_pipe_keeps_the_rest_and_a_closed_one_drops_it() {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::new(writer.as_fd());
        let bytes = vec![b'x'; 100_000];
        sink.push(&bytes);
        assert!(sink.is_blocked());
        let mut got = 0;
        let mut buffer = vec![0; 65_536];
        while got < bytes.len() {
            got += read(&reader, &mut buffer).unwrap();
            sink.flush();
        }
        assert!(!sink.is_blocked());
        assert_eq!(got, bytes.len());
        for _ in 0..10 {
            sink.push(&bytes);
        }
        assert!(sink.pending.len() <= PENDING_LIMIT);
        drop(reader);
        sink.flush();
        sink.push(b"more");
        assert!(!sink.is_blocked());
    }
}
