//! Between the caller's streams and the pipes that the process in the foreground
//! has in their place.

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

/// In the background the terminal's input is somebody else's. Nothing tells when
/// that changes, so it is looked at again, but only while there is input.
const BACKGROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Passes the streams and signals on until the process has ended; returns its status.
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
    /// The process has not read all that it has got.
    Full,
    /// It has, and gets what comes next.
    Empty,
    /// The same, but our process group must not read from the terminal.
    Background,
}

/// The caller's input. What is read of it and not by the process is lost to whoever
/// reads next, so the pipe has room for one piece only.
struct Input {
    pipe: OwnedFd,
    from: CallerStream,
    state: State,
}

impl Input {
    fn new(pipe: OwnedFd) -> Self {
        // Else it has room for more.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIECE);
        Input { pipe, from: CallerStream::input(), state: State::Full }
    }

    /// The pipe always: that nobody can read from it any more shows by itself.
    fn wanted(&self) -> impl Iterator<Item = PollFd<'_>> {
        let room = if self.state == State::Full { PollFlags::OUT } else { PollFlags::empty() };
        let stdin = self.from.wanted(PollFlags::IN);
        [PollFd::new(&self.pipe, room)].into_iter().chain((self.state == State::Empty).then_some(stdin))
    }

    /// None when there is no more to come, or nobody for it.
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
                    // In the background, by now, with SIGTTIN blocked: tty_ioctl(4).
                    Err(Errno::IO) if is_in_background() => self.state = State::Background,
                    Err(_) => return None,
                }
            }
        }
        Some(self)
    }
}

/// Whether standard input is our controlling terminal, and other processes than
/// ours are in its foreground.
fn is_in_background() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|foreground| foreground != getpgrp())
}

/// What the process writes, on its way to the caller's stream.
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

    /// False when there is no more to come, or nobody for it.
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

    /// What the process wrote before its end. What it has left behind may write on
    /// for ever: that is not waited for.
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
