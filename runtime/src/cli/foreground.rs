//! Standing in for a process in the foreground: its signals, its terminal, and
//! its exit status.

use super::relay;
use crate::bail;
use crate::create::console::Ends;
use crate::create::socket;
use crate::error::{Context, Result};
use crate::path::write_all;
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Waits for `pid`, a child, with all signals blocked: they go to the child. What
/// there is of `near` is joined to our own terminal and streams. Returns its exit
/// status, or 128 and the signal that ended it.
pub fn wait(pid: Pid, pidfd: &OwnedFd, mut near: Ends) -> Result<u8> {
    match near.console.take() {
        None if near.pipes.is_empty() => wait_signals(pid, pidfd),
        None => relay::pump(near, pid, pidfd),
        Some(console) => {
            let master = receive(&console)?;
            drop(console);
            Terminal::join(master)?.pump(pid, pidfd)
        }
    }
}

fn wait_signals(pid: Pid, pidfd: &OwnedFd) -> Result<u8> {
    loop {
        // Before waiting, for the child may have ended before now.
        if let Some(status) = ended(pid)? {
            return Ok(status);
        }
        let number = signal::wait().doing(|| "wait for a signal")?;
        forward(pidfd, number)?;
    }
}

/// The status of `pid` if it has ended. Orphans that came to us are reaped on
/// the way.
pub fn ended(pid: Pid) -> Result<Option<u8>> {
    loop {
        let child = match signal::ended_child() {
            Ok(Some(child)) => child,
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(errno).doing(|| "wait for the container"),
        };
        let status = waitid(WaitId::Pid(child), WaitIdOptions::EXITED).doing(|| "wait for the container")?;
        let Some(status) = status else { continue };
        if child != pid {
            continue;
        }
        let code = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (_, Some(signal)) => 128 + signal,
            _ => 255,
        };
        return Ok(Some(code as u8));
    }
}

pub fn forward(pidfd: &OwnedFd, number: i32) -> Result<()> {
    if matches!(number, libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG) {
        return Ok(());
    }
    match signal::send(pidfd.as_fd(), number) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno).doing(|| format!("pass signal {number} on")),
    }
}

/// The next signal that a signalfd has, if there is one.
pub fn next_signal(signals: &OwnedFd) -> Option<i32> {
    let mut record = [0u8; signal::SIGNALFD_RECORD];
    let length = rustix::io::read(signals, &mut record).ok()?;
    let [a, b, c, d, ..] = record;
    (length > 0).then(|| i32::from_ne_bytes([a, b, c, d]))
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

    fn pump(self, pid: Pid, pidfd: &OwnedFd) -> Result<u8> {
        let signals = signal::signalfd().doing(|| "wait for signals")?;
        let (mut input, mut output) = (true, true);
        loop {
            let stdin = rustix::stdio::stdin();
            // Only what is still open: one that has hung up says so for ever.
            let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
            fds.extend(output.then(|| PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)));
            fds.extend(input.then(|| PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "wait for the terminal"),
            }
            let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
            let signalled = ready.next().unwrap_or(false);
            let from_container = output && ready.next().unwrap_or(false);
            let from_us = input && ready.next().unwrap_or(false);
            if from_container {
                output = copy(self.master.as_fd(), rustix::stdio::stdout())?;
            }
            if from_us {
                input = copy(stdin, self.master.as_fd())?;
                if !input {
                    end_of_input(&self.master);
                }
            }
            if signalled && let Some(status) = self.signalled(&signals, pid, pidfd)? {
                if output {
                    self.last_output()?;
                }
                return Ok(status);
            }
        }
    }

    /// What the program wrote at its end. A process that it left behind may hold
    /// the terminal, and write to it, for ever: so this stops when nothing has
    /// come for a moment, and after much more than a terminal has room for.
    /// Where nobody holds it, its end shows at once.
    fn last_output(&self) -> Result<()> {
        const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        const MOST_READS: u32 = 1000;
        for _ in 0..MOST_READS {
            match poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&MOMENT)) {
                Ok(0) => return Ok(()),
                Ok(_) if copy(self.master.as_fd(), rustix::stdio::stdout())? => {}
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "wait for the terminal"),
            }
        }
        Ok(())
    }

    fn signalled(&self, signals: &OwnedFd, pid: Pid, pidfd: &OwnedFd) -> Result<Option<u8>> {
        while let Some(number) = next_signal(signals) {
            match number {
                libc::SIGWINCH => self.resize(),
                libc::SIGCHLD => {
                    if let Some(status) = ended(pid)? {
                        return Ok(Some(status));
                    }
                }
                number => forward(pidfd, number)?,
            }
        }
        Ok(None)
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

/// Copies what there is; false at the end. A terminal whose other end is
/// closed answers EIO.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool> {
    let mut buffer = [0u8; 8192];
    match rustix::io::read(from, &mut buffer) {
        Ok(0) | Err(Errno::IO) => Ok(false),
        Ok(length) => match write_all(to, &buffer[..length]) {
            Ok(()) => Ok(true),
            Err(Errno::PIPE | Errno::IO) => Ok(false),
            Err(errno) => Err(errno).doing(|| "copy the terminal's output"),
        },
        Err(Errno::INTR | Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno).doing(|| "read from the terminal"),
    }
}

/// The end of our input is the end-of-file character of the terminal.
fn end_of_input(master: &OwnedFd) {
    const EOT: u8 = 4;
    let _ = write_all(master, &[EOT]);
}
