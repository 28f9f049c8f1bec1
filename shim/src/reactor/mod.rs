//! The event loop's descriptors: one epoll(7) set, level-triggered, and what each descriptor in
//! it is.

pub(crate) mod signals;
pub(crate) mod timer;

use crate::stream::Stream;
use firn::error::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

/// What a descriptor in the set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The signalfd.
    Signals,
    /// The pidfd of the container's init.
    Init,
    /// The pipe from the process that receives the container's notifications.
    Inbox,
    /// The console socket.
    Console,
    /// An output of the container, to be read.
    Output(Stream),
    /// An output of the monitor, to be written.
    Sink(Stream),
    /// The socket of the monitor's service manager, to be written.
    Upstream,
}

impl Token {
    const ALL: [Token; 9] = [
        Token::Signals,
        Token::Init,
        Token::Inbox,
        Token::Console,
        Token::Output(Stream::Stdout),
        Token::Output(Stream::Stderr),
        Token::Sink(Stream::Stdout),
        Token::Sink(Stream::Stderr),
        Token::Upstream,
    ];

    /// The user data of its epoll event.
    fn data(self) -> u64 {
        Token::ALL.iter().position(|token| *token == self).map_or(u64::MAX, |index| index as u64)
    }

    fn of(event: &EpollEvent) -> Option<Token> {
        Token::ALL.get(usize::try_from(event.data()).ok()?).copied()
    }
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
}

/// The epoll set.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Epoll,
}

impl Reactor {
    /// An empty set.
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Waits for `fd` from now on. Errors: EPERM for a regular file, EEXIST.
    pub(crate) fn add(&self, fd: impl AsFd, interest: Interest, token: Token) -> io::Result<()> {
        let flags = match interest {
            Interest::Readable => EpollFlags::EPOLLIN,
            Interest::Writable => EpollFlags::EPOLLOUT,
        };
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token.data()))?)
    }

    /// Stops waiting for `fd`. One that is not muted but closed stays in the set for as long as
    /// another descriptor of the same open file exists.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Sleeps until a descriptor is ready, or until `deadline`; some of those that are ready.
    /// One that was closed by the other side is ready whatever it is waited for (EPOLLHUP,
    /// EPOLLERR).
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<impl Iterator<Item = Token> + use<>> {
        let mut ready = [EpollEvent::empty(); 8];
        let count = match self.epoll.wait(&mut ready, timer::timeout(deadline)) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(io::Error::from(error)).doing(|| "epoll_wait"),
        };
        Ok(ready.into_iter().take(count).filter_map(|event| Token::of(&event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in Token::ALL {
            assert_eq!(Token::of(&EpollEvent::new(EpollFlags::EPOLLIN, token.data())), Some(token));
        }
        assert_eq!(Token::of(&EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX)), None);
    }
}
