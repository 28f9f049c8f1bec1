//! Relays data between the caller's streams and the pipes of the foreground process.

use super::caller_stream::{CallerStream, PIECE};
use super::process::Foreground;
use crate::error::Result;
use crate::ipc::pair::StreamEnds;
use crate::path::write_all;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

/// Polling interval while firn is a background process group and the terminal has input.
/// No event reports the change to the foreground (tcsetpgrp(3)).
const BACKGROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Relays streams and signals until the process has ended; returns its exit status.
pub fn pump(streams: StreamEnds, mut process: Foreground<'_>) -> Result<u8> {
    let (mut input, mut outputs) = (None, Vec::new());
    for (number, pipe) in streams.pipes {
        match number {
            0 => input = Some(Input::new(pipe)),
            _ => outputs.push(Output { pipe, to: CallerStream::output(number), buffer: Vec::new() }),
        }
    }
    loop {
        let mut fds: Vec<_> = outputs.iter().map(Output::wanted).collect();
        fds.extend(input.iter().flat_map(Input::wanted));
        let time = input.as_ref().is_some_and(|input| input.state == State::Background).then_some(&BACKGROUND);
        let (ready, status) = process.wait(&fds, time, |_| false)?;
        if let Some(status) = status {
            outputs.iter_mut().for_each(|output| output.finish(&mut process));
            return Ok(status);
        }
        let mut ready = ready.into_iter();
        outputs.retain_mut(|output| !ready.next().unwrap_or(false) || output.step());
        let (first, second) = (ready.next().unwrap_or(false), ready.next().unwrap_or(false));
        input = input.and_then(|input| input.step(first, second));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process has not read everything from the pipe.
    Full,
    /// The pipe is empty: read the next piece of input.
    Empty,
    /// The same, but reading the terminal would fail: a background process group.
    Background,
}

/// The caller's stdin. What is read and not consumed by the process is lost to the next
/// reader of it, so the pipe holds one piece only.
struct Input {
    pipe: OwnedFd,
    from: CallerStream,
    state: State,
}

impl Input {
    fn new(pipe: OwnedFd) -> Self {
        // The default is 64 KiB, pipe(7).
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIECE);
        Input { pipe, from: CallerStream::input(), state: State::Full }
    }

    /// The pipe is always polled: POLLERR reports that its reader has closed it.
    fn wanted(&self) -> impl Iterator<Item = PollFd<'_>> {
        let room = if self.state == State::Full { PollFlags::OUT } else { PollFlags::empty() };
        let stdin = self.from.wanted(PollFlags::IN);
        [PollFd::new(&self.pipe, room)].into_iter().chain((self.state == State::Empty).then_some(stdin))
    }

    /// Relays one piece. None at EOF of either side.
    fn step(mut self, pipe: bool, stdin: bool) -> Option<Self> {
        match self.state {
            State::Full if pipe => self.state = State::Empty,
            State::Full => {}
            _ if pipe => return None,
            State::Background => self.state = State::Empty,
            State::Empty if !stdin => {}
            State::Empty if is_in_background() => self.state = State::Background,
            State::Empty => {
                let mut buffer = [0u8; PIECE];
                match self.from.read(&mut buffer) {
                    Ok(0) => return None,
                    Ok(length) => {
                        write_all(&self.pipe, &buffer[..length]).ok()?;
                        self.state = State::Full;
                    }
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    // EIO: in a background process group with SIGTTIN blocked (tty_ioctl(4)).
                    Err(Errno::IO) if is_in_background() => self.state = State::Background,
                    Err(_) => return None,
                }
            }
        }
        Some(self)
    }
}

/// Whether stdin is the controlling terminal, and another process group is in its
/// foreground.
fn is_in_background() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|foreground| foreground != getpgrp())
}

/// Output of the process, for the caller's stdout or stderr.
struct Output {
    pipe: OwnedFd,
    to: CallerStream,
    buffer: Vec<u8>,
}

impl Output {
    fn wanted(&self) -> PollFd<'_> {
        match self.buffer.is_empty() {
            true => PollFd::new(&self.pipe, PollFlags::IN),
            false => self.to.wanted(PollFlags::OUT),
        }
    }

    /// Relays one piece. False at EOF, or if the caller has closed its stream.
    fn step(&mut self) -> bool {
        if self.buffer.is_empty() {
            return self.read();
        }
        match self.to.write(&self.buffer) {
            Ok(length) => drop(self.buffer.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
        true
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0u8; PIECE];
        match rustix::io::read(&self.pipe, &mut buffer) {
            Ok(length) => self.buffer.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Err(_) => return false,
        }
        !self.buffer.is_empty()
    }

    /// Relays what is in the pipe after the process's end, without waiting for EOF: other
    /// processes may keep the pipe open.
    fn finish(&mut self, process: &mut Foreground<'_>) {
        let mut left = rustix::io::ioctl_fionread(&self.pipe).unwrap_or(0);
        loop {
            while !self.buffer.is_empty() {
                if !process.wait_for_last(self.to.wanted(PollFlags::OUT), None) || !self.step() {
                    return;
                }
            }
            if left == 0 || !self.read() {
                return;
            }
            left = left.saturating_sub(self.buffer.len() as u64);
        }
    }
}
