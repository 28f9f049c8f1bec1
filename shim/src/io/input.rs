//! The container's input: what attached clients type, into its terminal or pipe. While that has no
//! room, clients are not read.

use crate::reactor::{Reactor, Token};
use nix::errno::Errno;
use rustix::termios::Winsize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of one read.
const BUFFER: usize = 4 << 10;

/// The writing end of the container's input.
#[derive(Debug)]
struct Target {
    /// O_NONBLOCK.
    fd: OwnedFd,
    is_terminal: bool,
    polled: bool,
}

/// An attached client's input.
#[derive(Debug)]
struct Source {
    client: u32,
    /// O_NONBLOCK.
    socket: OwnedFd,
    polled: bool,
}

/// What reading a client has brought.
enum Typed {
    Something,
    Nothing,
    End,
}

/// From where to where, and what is on the way.
#[derive(Debug, Default)]
pub(crate) struct Input {
    target: Option<Target>,
    sources: Vec<Source>,
    pending: Vec<u8>,
    /// A client's input has ended, and with the last client's the container's does.
    ends: bool,
}

impl Input {
    /// Writes to `fd`, O_NONBLOCK, from now on: a terminal's master, or the writing end of a pipe.
    pub(crate) fn open(&mut self, fd: OwnedFd, is_terminal: bool, reactor: &Reactor) {
        self.close(reactor);
        self.ends = false;
        self.target = Some(Target { fd, is_terminal, polled: false });
        self.update_polled(reactor);
    }

    /// Closes the container's input, by which it sees the end of a pipe. Clients are read again when
    /// it is opened again.
    pub(crate) fn close(&mut self, reactor: &Reactor) {
        if let Some(mut target) = self.target.take() {
            let _ = reactor.set_polled(&target.fd, &mut target.polled, false, Token::Input);
        }
        self.pending.clear();
        self.update_polled(reactor);
    }

    /// The writing end of the container's pipe, if it has one.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.target.as_ref().filter(|target| !target.is_terminal).map(|target| target.fd.as_fd())
    }

    /// Sets the size of the terminal. Errors: there is none.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let terminal = self.target.as_ref().filter(|target| target.is_terminal);
        let terminal = terminal.ok_or_else(|| io::Error::other("the container has no terminal now"))?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&terminal.fd, size)?)
    }

    /// Takes what a client types, on a socket with O_NONBLOCK.
    pub(crate) fn add_source(&mut self, client: u32, socket: OwnedFd, reactor: &Reactor) {
        self.sources.push(Source { client, socket, polled: false });
        self.update_polled(reactor);
    }

    /// A client is gone. What it has typed before is still written.
    pub(crate) fn remove_source(&mut self, client: u32, reactor: &Reactor) {
        while matches!(self.read_source(client), Typed::Something) {}
        self.forget(client, reactor);
        self.flush(reactor);
    }

    /// A client has typed, or has nothing more to type. The end of the last one's input is the end
    /// of the container's, where that is a pipe; a terminal has no end.
    pub(crate) fn on_typed(&mut self, client: u32, reactor: &Reactor) {
        if let Typed::End = self.read_source(client) {
            self.forget(client, reactor);
        }
        self.flush(reactor);
    }

    fn read_source(&mut self, client: u32) -> Typed {
        let Some(source) = self.sources.iter().find(|source| source.client == client) else { return Typed::Nothing };
        let mut buffer = [0; BUFFER];
        match nix::unistd::read(&source.socket, &mut buffer) {
            Ok(count) if count > 0 => {
                self.pending.extend_from_slice(&buffer[..count]);
                Typed::Something
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Typed::Nothing,
            _ => {
                self.ends = true;
                Typed::End
            }
        }
    }

    fn forget(&mut self, client: u32, reactor: &Reactor) {
        self.sources.retain_mut(|source| {
            let kept = source.client != client;
            if !kept {
                let _ = reactor.set_polled(&source.socket, &mut source.polled, false, Token::Typed(client));
            }
            kept
        });
    }

    /// Writes what the container's input has room for.
    pub(crate) fn flush(&mut self, reactor: &Reactor) {
        while let Some(target) = self.target.as_ref().filter(|_| !self.pending.is_empty()) {
            match nix::unistd::write(&target.fd, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // Nobody reads it any more.
                Err(_) => self.close(reactor),
            }
        }
        let ends = self.ends && self.pending.is_empty() && self.sources.is_empty();
        if ends && self.target.as_ref().is_some_and(|target| !target.is_terminal) {
            self.close(reactor);
        }
        self.update_polled(reactor);
    }

    /// Waits for room while something is pending, and for clients while nothing is.
    fn update_polled(&mut self, reactor: &Reactor) {
        let blocked = !self.pending.is_empty();
        if let Some(target) = &mut self.target {
            let _ = reactor.set_polled(&target.fd, &mut target.polled, blocked, Token::Input);
        }
        let reads = self.target.is_some() && !blocked;
        for source in &mut self.sources {
            let _ = reactor.set_polled(&source.socket, &mut source.polled, reads, Token::Typed(source.client));
        }
    }
}
