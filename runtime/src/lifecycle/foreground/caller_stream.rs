//! Reads and writes the caller's standard streams without blocking: the foreground has all
//! signals blocked, and could forward none while it waits.
//!
//! O_NONBLOCK is a flag of the open file description (fcntl(2)), which the caller shares,
//! so terminals and pipes are opened again through /proc/self/fd.

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::net::{RecvFlags, SendFlags};
use rustix::termios::isatty;

/// Bytes that a pipe takes without blocking when poll(2) reports POLLOUT: PIPE_BUF, pipe(7).
pub const PIECE: usize = 4096;

#[derive(Debug)]
pub struct CallerStream {
    stream: BorrowedFd<'static>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Opened again, with O_NONBLOCK.
    Opened(OwnedFd),
    Socket,
    /// The caller's descriptor; at most so many bytes at once as do not block after poll(2).
    Borrowed {
        most: usize,
    },
}

impl CallerStream {
    /// The caller's stdin.
    pub fn input() -> Self {
        Self::open(rustix::stdio::stdin(), OFlags::RDONLY)
    }

    /// The caller's stdout (1) or stderr (2).
    pub fn output(number: i32) -> Self {
        Self::open(if number == 1 { rustix::stdio::stdout() } else { rustix::stdio::stderr() }, OFlags::WRONLY)
    }

    fn open(stream: BorrowedFd<'static>, access: OFlags) -> Self {
        CallerStream { stream, kind: Kind::of(stream, access) }
    }

    /// The entry for poll(2).
    pub fn wanted(&self, flags: PollFlags) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.as_fd(), flags)
    }

    /// EAGAIN if there is nothing to read.
    pub fn read(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.kind {
            Kind::Socket => rustix::net::recv(self.stream, buffer, RecvFlags::DONTWAIT).map(|(length, _)| length),
            _ => rustix::io::read(self, buffer),
        }
    }

    /// EAGAIN if there is no room.
    pub fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match &self.kind {
            Kind::Opened(fd) => rustix::io::write(fd, bytes),
            Kind::Socket => rustix::net::send(self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Kind::Borrowed { most } => rustix::io::write(self.stream, &bytes[..bytes.len().min(*most)]),
        }
    }
}

impl AsFd for CallerStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Opened(fd) => fd.as_fd(),
            _ => self.stream,
        }
    }
}

impl Kind {
    fn of(stream: BorrowedFd<'static>, access: OFlags) -> Self {
        let Ok(stat) = rustix::fs::fstat(stream) else { return Kind::Borrowed { most: PIECE } };
        let most = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => return Kind::Socket,
            FileType::Fifo => PIECE,
            // Opening /dev/ptmx would make another terminal: pts(4).
            FileType::CharacterDevice if isatty(stream) && stat.st_rdev == makedev(5, 2) => {
                return Kind::Borrowed { most: 1 };
            }
            FileType::CharacterDevice if isatty(stream) => 1,
            // Regular files never block for a reader.
            _ => return Kind::Borrowed { most: PIECE },
        };
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // EACCES: a terminal of another user, as after su(1). Then a write blocks if the
        // terminal is stopped between poll(2) and write(2).
        rustix::fs::open(path, flags, Mode::empty()).map_or(Kind::Borrowed { most }, Kind::Opened)
    }
}
