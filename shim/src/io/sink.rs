//! The monitor's own stdout and stderr, written without ever blocking the loop.

use nix::fcntl::OFlag;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// What may wait here: the last read of the container's output, the rest of a
/// pipe at its end, and messages of the monitor.
const BOUND: usize = 256 << 10;

#[derive(Debug)]
enum Way {
    /// A pipe or device, opened anew so that O_NONBLOCK is ours alone: the flag
    /// belongs to the open file, which other processes share.
    Own(OwnedFd),
    /// A socket (the journal's), which can't be opened anew.
    Socket(OwnedFd),
    /// A regular file never blocks, and epoll doesn't take it.
    File(OwnedFd),
    /// There was nothing to begin with.
    Nowhere,
}

/// One of the two outputs.
#[derive(Debug)]
pub struct Sink {
    way: Way,
    /// Nobody reads any more. The descriptor stays open: a socket is shared
    /// with fd 1, so closing ours would leave it in the epoll set for good.
    closed: bool,
    pending: Vec<u8>,
}

impl Sink {
    pub fn new(fd: BorrowedFd<'_>) -> Sink {
        Sink { way: way(fd).unwrap_or(Way::Nowhere), closed: false, pending: Vec::new() }
    }

    /// What to wait on while something is pending.
    pub fn pollable(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Own(fd) | Way::Socket(fd) => Some(fd.as_fd()),
            Way::File(_) | Way::Nowhere => None,
        }
    }

    pub fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes what can be written and keeps the rest; beyond the bound it is
    /// dropped, which back-pressure on the container keeps from happening.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.pending.is_empty() {
            rest = &bytes[self.write(bytes)..];
        }
        if !self.closed && self.pending.len() + rest.len() <= BOUND {
            self.pending.extend_from_slice(rest);
        }
    }

    /// Writes what is pending, as far as possible.
    pub fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        if written < pending.len() && !self.closed {
            self.pending = pending[written..].to_vec();
        }
    }

    /// How many bytes went out before it would have blocked.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() && !self.closed {
            let rest = &bytes[done..];
            let written = match &self.way {
                Way::Own(fd) | Way::File(fd) => nix::unistd::write(fd, rest),
                Way::Socket(fd) => send(fd.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
                Way::Nowhere => return bytes.len(),
            };
            match written {
                Ok(count) => done += count,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => break,
                Err(_) => self.closed = true,
            }
        }
        done
    }
}

fn way(fd: BorrowedFd<'_>) -> io::Result<Way> {
    let kind = SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFSOCK {
        return Ok(Way::Socket(fd.try_clone_to_owned()?));
    }
    if kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR {
        let reopened = OpenOptions::new()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        match reopened {
            Ok(file) => return Ok(Way::Own(file.into())),
            // A terminal of another user (after su): as a file, it may block.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Way::File(fd.try_clone_to_owned()?))
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
        assert!(sink.pending.len() <= BOUND);
        drop(reader);
        sink.flush();
        sink.push(b"more");
        assert!(!sink.is_blocked());
    }
}
