//! The streams of an attached container or of a process in it, here: what is typed goes there, and
//! what comes is printed.

use crate::control::client::Client;
use crate::control::protocol::{AttachedStream, Event, Reply, Request};
use firn::error::{Context, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{Shutdown, shutdown};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Ctrl-P Ctrl-Q detach, as from podman and Docker.
const DETACH: [u8; 2] = [0x10, 0x11];

/// Streams that came with a reply, while they are open.
#[derive(Debug)]
pub(super) struct Session {
    input: Option<OwnedFd>,
    /// For stdout and stderr.
    outputs: [Option<OwnedFd>; 2],
    resizes: SignalFd,
    /// Our terminal passes keys on as they are.
    raw: Option<RawTerminal>,
    /// The terminal on the other side is one of the streams, and not the monitor's to resize.
    owns_terminal: bool,
    /// Ctrl-P was typed.
    half: bool,
    /// The monitor has ended. The streams of a process in the container go on without it.
    is_orphaned: bool,
}

/// What has ended a session.
pub(super) enum End {
    /// With this exit status.
    Exit(u8),
    /// The user has detached.
    Detached,
}

impl Session {
    /// Takes the streams of a reply. With a terminal on both sides ours is in raw mode from now on.
    pub(super) fn begin(reply: &Reply, streams: Vec<OwnedFd>, client: &mut Client) -> Result<Session> {
        let resizes = SigSet::from_iter([Signal::SIGWINCH]);
        resizes.thread_block().map_err(io::Error::from).doing(|| "sigprocmask")?;
        let resizes = SignalFd::with_flags(&resizes, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let resizes = resizes.map_err(io::Error::from).doing(|| "signalfd")?;
        let (mut input, mut outputs) = (None, [None, None]);
        for (stream, fd) in reply.streams.iter().zip(streams) {
            match stream {
                AttachedStream::Input => input = Some(fd),
                AttachedStream::Stdout => outputs[0] = Some(fd),
                AttachedStream::Stderr => outputs[1] = Some(fd),
            }
        }
        let raw = if reply.terminal && input.is_some() { RawTerminal::enter()? } else { None };
        let owns_terminal = reply.terminal && reply.exec.is_some();
        let mut session = Session { input, outputs, resizes, raw, owns_terminal, half: false, is_orphaned: false };
        session.resize(client)?;
        Ok(session)
    }

    /// Relays until `ends` says of an event what the exit status is.
    pub(super) fn relay(&mut self, client: &mut Client, ends: impl Fn(&Event) -> Option<u8>) -> Result<End> {
        loop {
            if self.is_orphaned && self.outputs.iter().all(Option::is_none) {
                return Err(Error::new("its monitor has ended: how it ends is not known"));
            }
            let ready = self.wait(client)?;
            for (output, number) in self.outputs.iter_mut().zip([0, 1]) {
                if ready.outputs[number] {
                    copy_once(output, number)?;
                }
            }
            if ready.typed && !self.type_some() {
                return Ok(End::Detached);
            }
            if ready.resized && matches!(self.resizes.read_signal(), Ok(Some(_))) {
                self.resize(client)?;
            }
            if ready.events {
                match client.next_event()? {
                    Some(event) => {
                        if let Some(status) = ends(&event) {
                            self.drain()?;
                            return Ok(End::Exit(status));
                        }
                    }
                    None => self.is_orphaned = true,
                }
            }
        }
    }

    fn wait(&self, client: &Client) -> Result<Ready> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(self.resizes.as_fd(), PollFlags::POLLIN)];
        let mut places = [None; 4];
        let typed = self.input.as_ref().map(|_| stdin.as_fd());
        let events = (!self.is_orphaned).then(|| client.as_fd());
        let sources = self.outputs.iter().map(|output| output.as_ref().map(AsFd::as_fd)).chain([typed, events]);
        for (place, fd) in places.iter_mut().zip(sources) {
            *place = fd.map(|fd| {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
                fds.len() - 1
            });
        }
        let timeout = if client.has_events() { PollTimeout::ZERO } else { PollTimeout::NONE };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(io::Error::from(error)).doing(|| "poll"),
        }
        let is_ready = |index: usize| fds[index].any().unwrap_or(false);
        let [stdout, stderr, typed, events] = places.map(|place| place.is_some_and(is_ready));
        let events = events || client.has_events();
        Ok(Ready { events, resized: is_ready(0), outputs: [stdout, stderr], typed })
    }

    /// Prints what the streams hold now.
    fn drain(&mut self) -> Result<()> {
        for (number, output) in self.outputs.iter_mut().enumerate() {
            while let Some(fd) = output.as_ref() {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                if !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..)) {
                    break;
                }
                copy_once(output, number)?;
            }
        }
        Ok(())
    }

    /// Passes on what was typed; false if that was the keys that detach.
    fn type_some(&mut self) -> bool {
        let Some(input) = &self.input else { return true };
        let mut buffer = [0; 4096];
        // Not by io::Stdin, which reads ahead: poll(2) would not know of the rest.
        let count = nix::unistd::read(io::stdin(), &mut buffer).unwrap_or(0);
        if count == 0 {
            // Of a pipe the closing is the end, of a socket this.
            let _ = shutdown(input, Shutdown::Write);
            self.input = None;
            return true;
        }
        // A terminal that is the client's own would end with it, and a shell's Ctrl-P is not to be held back.
        let may_detach = self.raw.is_some() && !self.owns_terminal;
        let mut typed = Vec::with_capacity(count + 1);
        for &byte in &buffer[..count] {
            match (may_detach, std::mem::take(&mut self.half), byte) {
                (true, true, byte) if byte == DETACH[1] => return false,
                (true, was_half, byte) if byte == DETACH[0] => {
                    self.half = true;
                    typed.extend(was_half.then_some(DETACH[0]));
                }
                (_, was_half, byte) => {
                    typed.extend(was_half.then_some(DETACH[0]));
                    typed.push(byte);
                }
            }
        }
        if write_all(input, &typed).is_err() {
            self.input = None;
        }
        true
    }

    /// Gives the other terminal the size of ours.
    fn resize(&mut self, client: &mut Client) -> Result<()> {
        let (true, Ok(size)) = (self.raw.is_some(), tcgetwinsize(io::stdin())) else { return Ok(()) };
        if self.owns_terminal {
            if let Some(terminal) = &self.outputs[0] {
                let _ = tcsetwinsize(terminal, size);
            }
            return Ok(());
        }
        client.call(Request::Resize { rows: size.ws_row, columns: size.ws_col }).map(|_| ())
    }
}

/// What there is to do.
struct Ready {
    events: bool,
    resized: bool,
    outputs: [bool; 2],
    typed: bool,
}

/// Copies once from a stream that is readable to stdout (0) or stderr (1); it is closed at its end.
fn copy_once(stream: &mut Option<OwnedFd>, number: usize) -> Result<()> {
    let Some(from) = stream.as_ref() else { return Ok(()) };
    let mut buffer = [0; 16 << 10];
    match nix::unistd::read(from, &mut buffer) {
        Err(nix::Error::EINTR | nix::Error::EAGAIN) => Ok(()),
        // A terminal's master has EIO at its end.
        Ok(0) | Err(_) => {
            *stream = None;
            Ok(())
        }
        Ok(count) => {
            let print = |mut to: Box<dyn Write>| to.write_all(&buffer[..count]).and_then(|()| to.flush());
            let printed = if number == 0 { print(Box::new(io::stdout())) } else { print(Box::new(io::stderr())) };
            printed.doing(|| "print the output")
        }
    }
}

/// Waits while a stream that does not block has no room.
fn write_all(stream: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(stream, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => {
                poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Our terminal in raw mode, until this is dropped.
#[derive(Debug)]
struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` if stdin is no terminal.
    fn enter() -> Result<Option<RawTerminal>> {
        if !isatty(io::stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin()).map_err(io::Error::from).doing(|| "tcgetattr")?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed before is not thrown away.
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw).map_err(io::Error::from).doing(|| "tcsetattr")?;
        Ok(Some(RawTerminal(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
