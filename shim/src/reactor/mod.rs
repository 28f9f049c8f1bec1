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

/// What a descriptor in the set is. Clients of the control socket have numbers.
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
    /// The container's input, to be written.
    Input,
    /// The socket of the monitor's service manager, to be written.
    Upstream,
    /// The control socket.
    Control,
    /// The connection to the keeper: it has ended.
    Keeper,
    /// A client's connection to it.
    Client(u32),
    /// An attached client's copy of an output, to be written.
    View(u32, Stream),
    /// What an attached client types, to be read.
    Typed(u32),
}

impl Token {
    /// The user data of its epoll event: what it is in the upper half, the client in the lower.
    fn data(self) -> u64 {
        let (kind, client): (u64, u32) = match self {
            Token::Signals => (0, 0),
            Token::Init => (1, 0),
            Token::Inbox => (2, 0),
            Token::Console => (3, 0),
            Token::Output(Stream::Stdout) => (4, 0),
            Token::Output(Stream::Stderr) => (5, 0),
            Token::Sink(Stream::Stdout) => (6, 0),
            Token::Sink(Stream::Stderr) => (7, 0),
            Token::Input => (8, 0),
            Token::Upstream => (9, 0),
            Token::Control => (10, 0),
            Token::Client(client) => (11, client),
            Token::View(client, Stream::Stdout) => (12, client),
            Token::View(client, Stream::Stderr) => (13, client),
            Token::Typed(client) => (14, client),
            Token::Keeper => (15, 0),
        };
        kind << 32 | u64::from(client)
    }

    /// What its descriptor is waited for, where it is only sometimes.
    fn interest(self) -> Interest {
        match self {
            Token::Sink(_) | Token::View(..) | Token::Input => Interest::Writable,
            _ => Interest::Readable,
        }
    }

    fn of(event: &EpollEvent) -> Option<Token> {
        let client = (event.data() & u64::from(u32::MAX)) as u32;
        Some(match event.data() >> 32 {
            0 => Token::Signals,
            1 => Token::Init,
            2 => Token::Inbox,
            3 => Token::Console,
            4 => Token::Output(Stream::Stdout),
            5 => Token::Output(Stream::Stderr),
            6 => Token::Sink(Stream::Stdout),
            7 => Token::Sink(Stream::Stderr),
            8 => Token::Input,
            9 => Token::Upstream,
            10 => Token::Control,
            11 => Token::Client(client),
            12 => Token::View(client, Stream::Stdout),
            13 => Token::View(client, Stream::Stderr),
            14 => Token::Typed(client),
            15 => Token::Keeper,
            _ => return None,
        })
    }
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
    /// Neither, but for the other side's closing. Of a pidfd that is the reaping of its process (Linux
    /// 6.9).
    HangUp,
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
            Interest::HangUp => EpollFlags::empty(),
        };
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token.data()))?)
    }

    /// Stops waiting for `fd`. One that is not muted but closed stays in the set for as long as
    /// another descriptor of the same open file exists.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Adds a descriptor to the set or removes it, where `polled` is not yet `wanted`.
    pub(crate) fn set_polled(&self, fd: impl AsFd, polled: &mut bool, wanted: bool, token: Token) -> io::Result<()> {
        match (*polled, wanted) {
            (false, true) => self.add(fd, token.interest(), token)?,
            (true, false) => self.remove(fd)?,
            _ => {}
        }
        *polled = wanted;
        Ok(())
    }

    /// Sleeps until a descriptor is ready, or until `deadline`; some of those that are ready.
    /// One that was closed by the other side is ready whatever it is waited for (EPOLLHUP,
    /// EPOLLERR). The end of init comes alone: who asks at the same time is told of it, and
    /// not of what was before.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<impl Iterator<Item = Token> + use<>> {
        let mut ready = [EpollEvent::empty(); 8];
        let count = match self.epoll.wait(&mut ready, timer::timeout(deadline)) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(io::Error::from(error)).doing(|| "epoll_wait"),
        };
        let ready = ready.into_iter().take(count).filter_map(|event| Token::of(&event));
        let has_ended = ready.clone().any(|token| token == Token::Init);
        Ok(ready.filter(move |token| !has_ended || *token == Token::Init))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for kind in 0..=15 {
            for client in [0, 7, u64::from(u32::MAX)] {
                let token = Token::of(&EpollEvent::new(EpollFlags::EPOLLIN, kind << 32 | client)).unwrap();
                assert_eq!(Token::of(&EpollEvent::new(EpollFlags::EPOLLIN, token.data())), Some(token));
                assert_eq!(token.data() >> 32, kind);
            }
        }
        assert_eq!(Token::View(9, Stream::Stderr).data(), 13 << 32 | 9);
        assert_eq!(Token::of(&EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX)), None);
    }
}
