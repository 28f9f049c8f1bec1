//! Our own terminal, joined to that of the process.

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

/// Receives the pty master and passes bytes and signals on until the process has ended;
/// returns its status.
pub fn pump(console: OwnedFd, process: Foreground<'_>) -> Result<u8> {
    let master = receive(&console)?;
    drop(console);
    Terminal::join(master)?.pump(process)
}

/// The one descriptor that init sends.
fn receive(console: &OwnedFd) -> Result<OwnedFd> {
    match socket::receive(console, 64).doing(|| "receive the terminal")? {
        (_, Some(master)) => Ok(master),
        _ => bail!("init sent no terminal"),
    }
}

/// Our own terminal, if we have one, joined to the container's.
struct Terminal {
    master: OwnedFd,
    /// How ours was before it became raw.
    before: Option<Termios>,
}

impl Terminal {
    fn join(master: OwnedFd) -> Result<Self> {
        // Ours alone: init, whose program has its other end, has let go of it.
        let flags = fcntl_getfl(&master).doing(|| "set up the terminal")?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).doing(|| "set up the terminal")?;
        let stdin = rustix::stdio::stdin();
        let mut before = None;
        if let Ok(settings) = tcgetattr(stdin) {
            let mut raw = settings.clone();
            raw.make_raw();
            // It ends lines as its owner likes; the container's does not.
            raw.output_modes |= OutputModes::OPOST;
            tcsetattr(stdin, OptionalActions::Now, &raw).doing(|| "make the terminal raw")?;
            before = Some(settings);
        }
        let terminal = Terminal { master, before };
        terminal.resize();
        Ok(terminal)
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            // The program may have closed its end.
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

    /// What the program wrote at its end. A process that it left behind may hold
    /// the terminal, and write to it, for ever: so this stops when nothing has
    /// come for a moment, and after much more than a terminal has room for.
    /// Where nobody holds it, its end shows at once.
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

/// The end of our input is the end-of-file character of the terminal.
const END_OF_INPUT: u8 = 4;

/// What is on its way in one direction.
#[derive(Debug, Default)]
struct Copy {
    buffer: Vec<u8>,
    /// Nothing more will be read.
    ended: bool,
}

impl Copy {
    fn is_done(&self) -> bool {
        self.ended && self.buffer.is_empty()
    }

    /// What to wait for: of what is open only, for one that has hung up says so for
    /// ever.
    fn wanted<'fd>(&self, from: &PollFd<'fd>, to: &PollFd<'fd>) -> Option<PollFd<'fd>> {
        match (self.buffer.is_empty(), self.ended) {
            (false, _) => Some(to.clone()),
            (true, false) => Some(from.clone()),
            (true, true) => None,
        }
    }

    /// Reads or writes what there is, with `end` behind the last of it. A terminal whose
    /// other end is closed answers EIO.
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
                Err(errno) => return Err(errno).doing(|| "read from the terminal"),
            }
            return Ok(());
        }
        match write(&self.buffer) {
            Ok(length) => drop(self.buffer.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE | Errno::IO) => *self = Copy { buffer: Vec::new(), ended: true },
            Err(errno) => return Err(errno).doing(|| "copy the terminal's output"),
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Whatever happened, people want their terminal back.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
