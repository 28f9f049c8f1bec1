//! Relays data between the caller's terminal and the pty of the foreground process.

use super::caller_stream::CallerStream;
use super::process::Foreground;
use crate::bail;
use crate::error::{Context, Result};
use crate::ipc::socket;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Receives the pty master, and relays data and signals until the process has ended;
/// returns its exit status.
pub fn pump(console: OwnedFd, process: Foreground<'_>) -> Result<u8> {
    let master = receive(&console)?;
    drop(console);
    Terminal::join(master)?.pump(process)
}

/// Receives the pty master (SCM_RIGHTS) from init.
fn receive(console: &OwnedFd) -> Result<OwnedFd> {
    match socket::receive(console, 64).doing(|| "receive the pty master")? {
        (_, Some(master)) => Ok(master),
        _ => bail!("receive the pty master: init closed the console socket"),
    }
}

/// The caller's terminal, if there is one, and the pty master.
struct Terminal {
    master: OwnedFd,
    /// Settings of the caller's terminal before it was made raw.
    before: Option<Termios>,
}

impl Terminal {
    fn join(master: OwnedFd) -> Result<Self> {
        // O_NONBLOCK affects no other process: init has closed its copy of the master.
        let flags = fcntl_getfl(&master).doing(|| "fcntl of the pty master")?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).doing(|| "fcntl of the pty master")?;
        let stdin = rustix::stdio::stdin();
        let mut before = None;
        if let Ok(settings) = tcgetattr(stdin) {
            let mut raw = settings.clone();
            raw.make_raw();
            // Output post-processing of the caller's terminal stays on: the container's has
            // ONLCR cleared.
            raw.output_modes |= OutputModes::OPOST;
            tcsetattr(stdin, OptionalActions::Now, &raw).doing(|| "tcsetattr of the terminal")?;
            before = Some(settings);
        }
        let terminal = Terminal { master, before };
        terminal.resize();
        Ok(terminal)
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            // EIO: the program has closed its end.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    fn pump(self, mut process: Foreground<'_>) -> Result<u8> {
        let (stdin, stdout) = (CallerStream::input(), CallerStream::output(1));
        let (mut input, mut output) = (Copy::default(), Copy::default());
        loop {
            let mut fds = Vec::with_capacity(2);
            fds.extend(output.wanted(&PollFd::new(&self.master, PollFlags::IN), &stdout.wanted(PollFlags::OUT)));
            fds.extend(input.wanted(&stdin.wanted(PollFlags::IN), &PollFd::new(&self.master, PollFlags::OUT)));
            let (ready, status) = process.wait(&fds, None, |signal| {
                if signal == libc::SIGWINCH {
                    self.resize();
                }
                signal == libc::SIGWINCH
            })?;
            if let Some(status) = status {
                self.last_output(&mut output, &stdout, &mut process)?;
                return Ok(status);
            }
            let mut ready = ready.into_iter();
            if !output.is_done() && ready.next() == Some(true) {
                self.step_output(&mut output, &stdout)?;
            }
            if !input.is_done() && ready.next() == Some(true) {
                let read = |buffer: &mut [u8]| stdin.read(buffer);
                input.step(read, |bytes| rustix::io::write(&self.master, bytes), Some(END_OF_INPUT))?;
            }
        }
    }

    fn step_output(&self, output: &mut Copy, stdout: &CallerStream) -> Result<()> {
        output.step(|buffer| rustix::io::read(&self.master, buffer), |bytes| stdout.write(bytes), None)
    }

    /// Relays the output before the process's end. Other processes may keep the pty open and
    /// write to it, so this stops when 100 ms pass without output, or after far more reads
    /// than the pty's buffer holds. If no process has it open, EIO ends it at once.
    fn last_output(&self, output: &mut Copy, stdout: &CallerStream, process: &mut Foreground<'_>) -> Result<()> {
        const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        const MOST_READS: u32 = 1000;
        let mut reads = 0;
        while !output.is_done() && reads < MOST_READS {
            let (fd, limit) = match output.buffer.is_empty() {
                true => (PollFd::new(&self.master, PollFlags::IN), Some(&MOMENT)),
                false => (stdout.wanted(PollFlags::OUT), None),
            };
            reads += u32::from(output.buffer.is_empty());
            if !process.wait_for_last(fd, limit) {
                break;
            }
            self.step_output(output, stdout)?;
        }
        Ok(())
    }
}

/// VEOF of the pty: sent at EOF of the caller's input.
const END_OF_INPUT: u8 = 4;

/// A buffer for one direction.
#[derive(Debug, Default)]
struct Copy {
    buffer: Vec<u8>,
    /// EOF: nothing more is read.
    ended: bool,
}

impl Copy {
    fn is_done(&self) -> bool {
        self.ended && self.buffer.is_empty()
    }

    /// What to poll. A side that has hung up is left out: it would report POLLHUP for ever.
    fn wanted<'fd>(&self, from: &PollFd<'fd>, to: &PollFd<'fd>) -> Option<PollFd<'fd>> {
        match (self.buffer.is_empty(), self.ended) {
            (false, _) => Some(to.clone()),
            (true, false) => Some(from.clone()),
            (true, true) => None,
        }
    }

    /// Reads or writes once; `end` is appended at EOF. EIO is the EOF of a pty whose other
    /// end is closed.
    fn step(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
        write: impl FnOnce(&[u8]) -> rustix::io::Result<usize>,
        end: Option<u8>,
    ) -> Result<()> {
        if self.buffer.is_empty() {
            let mut buffer = [0u8; 8192];
            match read(&mut buffer) {
                Ok(0) | Err(Errno::IO) => {
                    self.ended = true;
                    self.buffer.extend(end);
                }
                Ok(length) => self.buffer.extend_from_slice(&buffer[..length]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(errno).doing(|| "read from the pty"),
            }
            return Ok(());
        }
        match write(&self.buffer) {
            Ok(length) => drop(self.buffer.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE | Errno::IO) => *self = Copy { buffer: Vec::new(), ended: true },
            Err(errno) => return Err(errno).doing(|| "relay terminal data"),
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // On every path out, also an error.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
