//! Waiting for a process that a container may hold up for ever: it can freeze its own
//! cgroup, and stop or trace what it sees in its pid namespace. The foreground blocks
//! all signals, so that the one who waits would have to be killed. This wait ends by
//! the signals that ask a program to end, and with the container.

use crate::bail;
use crate::error::{Context, Result};
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

const ENDING: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What ends a wait, besides what is waited for.
#[derive(Debug)]
pub struct Watch {
    signals: OwnedFd,
    init: Option<OwnedFd>,
}

impl Watch {
    /// For a caller that has blocked all signals. `init` is that of the container that
    /// is joined.
    pub fn new(init: Option<&OwnedFd>) -> Result<Self> {
        let init = init.map(OwnedFd::try_clone).transpose().doing(|| "watch the container")?;
        Ok(Watch { signals: signal::signalfd_of(&ENDING).doing(|| "watch for signals")?, init })
    }

    /// Until `fd` can be read, or is at its end.
    pub fn wait(&self, fd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(fd, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            fds.extend(self.init.as_ref().map(|init| PollFd::new(init, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno).doing(|| "wait for the other process"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            match ready[..] {
                [true, ..] => return Ok(()),
                [_, true, ..] => {
                    let number = signal::next_of(self.signals.as_fd()).doing(|| "read a signal")?;
                    bail!("interrupted by signal {number} ({})", signal::description(number));
                }
                [_, _, true] => bail!("the container has ended"),
                _ => {}
            }
        }
    }
}
