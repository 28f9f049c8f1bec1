//! `firn-shim attach NAME`: the container's output here, and what is typed there.

use super::control::Target;
use crate::control::client::Client;
use crate::control::protocol::{AttachedStream, Event, Request};
use clap::Args;
use firn::error::{Context, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::net::{Shutdown, shutdown};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Ctrl-P Ctrl-Q detach, as from podman and Docker.
const DETACH: [u8; 2] = [0x10, 0x11];

/// The options of `attach`.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    target: Target,
    /// Only look: nothing is typed into it
    #[arg(long)]
    no_stdin: bool,
}

/// Attaches until the container ends, whose exit code is returned, or until the user detaches.
pub(super) fn run(options: &Options) -> Result<u8> {
    let mut client = options.target.connect()?;
    client.call(Request::Subscribe)?;
    let (reply, sockets) = client.call(Request::Attach { input: !options.no_stdin })?;
    let mut session = Session::default();
    for (stream, socket) in reply.streams.into_iter().zip(sockets) {
        match stream {
            AttachedStream::Input => session.input = Some(socket),
            AttachedStream::Stdout => session.stdout = Some(socket),
            AttachedStream::Stderr => session.stderr = Some(socket),
        }
    }
    let resizes = SigSet::from_iter([Signal::SIGWINCH]);
    resizes.thread_block().map_err(io::Error::from).doing(|| "sigprocmask")?;
    let resizes = SignalFd::with_flags(&resizes, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
    let resizes = resizes.map_err(io::Error::from).doing(|| "signalfd")?;
    let raw = if reply.terminal && session.input.is_some() { RawTerminal::enter()? } else { None };
    session.detaches = raw.is_some();
    if raw.is_some() {
        resize(&mut client)?;
    }
    let ended = session.relay(&mut client, &resizes, raw.is_some());
    drop(raw);
    ended
}

/// Gives the container's terminal the size of ours.
fn resize(client: &mut Client) -> Result<()> {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        client.call(Request::Resize { rows: size.ws_row, columns: size.ws_col })?;
    }
    Ok(())
}

/// The sockets of an attachment, while they are open.
#[derive(Debug, Default)]
struct Session {
    input: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The keys that detach do so.
    detaches: bool,
    /// Ctrl-P was typed.
    half: bool,
}

impl Session {
    fn relay(&mut self, client: &mut Client, resizes: &SignalFd, resizing: bool) -> Result<u8> {
        let mut code = None;
        loop {
            let stdin = io::stdin();
            let mut fds = vec![PollFd::new(client.as_fd(), PollFlags::POLLIN)];
            fds.push(PollFd::new(resizes.as_fd(), PollFlags::POLLIN));
            for socket in [&self.stdout, &self.stderr].into_iter().flatten() {
                fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            }
            if self.input.is_some() {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            // Once it has ended, what is still in the sockets is read, and not waited for.
            if code.is_none() && !client.has_events() {
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(nix::Error::EINTR) => {}
                    Err(error) => return Err(io::Error::from(error)).doing(|| "poll"),
                }
            }
            let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            let (from_monitor, resized) = (ready(&fds[0]) || client.has_events(), ready(&fds[1]));
            let typed = self.input.is_some() && fds.last().is_some_and(ready);
            drop(fds);
            copy(&mut self.stdout, &mut io::stdout())?;
            copy(&mut self.stderr, &mut io::stderr())?;
            if let Some(code) = code {
                return Ok(code);
            }
            if typed && !self.type_some()? {
                return Ok(0);
            }
            if resized && matches!(resizes.read_signal(), Ok(Some(_))) && resizing {
                resize(client)?;
            }
            if from_monitor {
                code = match client.next_event()? {
                    Some(Event::Status(_)) => None,
                    Some(Event::Ended { code }) => Some(code),
                    None => return Err(Error::new("the monitor has ended without a word")),
                };
            }
        }
    }

    /// Passes on what was typed; false if that was the keys that detach.
    fn type_some(&mut self) -> Result<bool> {
        let Some(input) = &self.input else { return Ok(true) };
        let mut buffer = [0; 4096];
        // Not by io::Stdin, which reads ahead: poll(2) would not know of the rest.
        let count = nix::unistd::read(io::stdin(), &mut buffer).unwrap_or(0);
        if count == 0 {
            let _ = shutdown(input, Shutdown::Write);
            self.input = None;
            return Ok(true);
        }
        let mut typed = Vec::with_capacity(count + 1);
        for &byte in &buffer[..count] {
            match (self.detaches, std::mem::take(&mut self.half), byte) {
                (true, true, byte) if byte == DETACH[1] => return Ok(false),
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
        if send_all(input, &typed).is_err() {
            self.input = None;
        }
        Ok(true)
    }
}

/// Copies what a socket holds; it is closed at its end.
fn copy(socket: &mut Option<OwnedFd>, to: &mut impl Write) -> Result<()> {
    let mut buffer = [0; 16 << 10];
    while let Some(from) = socket.as_ref() {
        match rustix::net::recv(from, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
            Ok((0, _)) => *socket = None,
            Ok((count, _)) => {
                to.write_all(&buffer[..count]).and_then(|()| to.flush()).doing(|| "write the container's output")?;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::net::send(socket, bytes, rustix::net::SendFlags::NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Our terminal in raw mode, until this is dropped.
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
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).map_err(io::Error::from).doing(|| "tcsetattr")?;
        Ok(Some(RawTerminal(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
