//! The caller's standard streams, read and written without ever waiting: the
//! foreground has all signals blocked, and while it waited, it could pass none on.
//!
//! O_NONBLOCK belongs to the open file description, fcntl(2), which the caller has as
//! well: it is not ours to set. So terminals and pipes are opened once more.

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::net::{RecvFlags, SendFlags};
use rustix::termios::isatty;

/// A pipe takes so much at once when poll(2) says that it takes anything: a page at
/// least, pipe(7).
pub const PIECE: usize = 4096;

#[derive(Debug)]
pub struct CallerStream {
    stream: BorrowedFd<'static>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// With an open file description of our own.
    Opened(OwnedFd),
    Socket,
    /// As it is, by so much at once as should not wait after poll(2).
    Borrowed {
        most: usize,
    },
}

impl CallerStream {
    pub fn input() -> Self {
        Self::open(rustix::stdio::stdin(), OFlags::RDONLY)
    }

    pub fn output(number: i32) -> Self {
        Self::open(if number == 1 { rustix::stdio::stdout() } else { rustix::stdio::stderr() }, OFlags::WRONLY)
    }

    fn open(stream: BorrowedFd<'static>, access: OFlags) -> Self {
        CallerStream { stream, kind: Kind::of(stream, access) }
    }

    pub fn wanted(&self, flags: PollFlags) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.as_fd(), flags)
    }

    /// EAGAIN where there is nothing after all.
    pub fn read(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.kind {
            Kind::Socket => rustix::net::recv(self.stream, buffer, RecvFlags::DONTWAIT).map(|(length, _)| length),
            _ => rustix::io::read(self, buffer),
        }
    }

    /// EAGAIN where there is no room after all.
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
            // Opening the multiplexer makes another terminal: pts(4).
            FileType::CharacterDevice if isatty(stream) && stat.st_rdev == makedev(5, 2) => {
                return Kind::Borrowed { most: 1 };
            }
            FileType::CharacterDevice if isatty(stream) => 1,
            // Files never make anybody wait for a reader.
            _ => return Kind::Borrowed { most: PIECE },
        };
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // It can be somebody else's, as after su(1). A signal then waits for the reader if
        // the terminal is stopped between poll(2) and write(2).
        rustix::fs::open(path, flags, Mode::empty()).map_or(Kind::Borrowed { most }, Kind::Opened)
    }
}
