//! Waits for a process that the container may hold up for ever: it can freeze its own
//! cgroup, and stop or trace the processes in its pid namespace. The foreground blocks all
//! signals, so such a wait could only be ended by SIGKILL. This one also ends by signals
//! that ask a program to terminate, and by the end of the container.

use crate::bail;
use crate::error::{Context, Result};
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

const TERMINATING: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What ends a wait early.
#[derive(Debug)]
pub struct Watch {
    signals: OwnedFd,
    init: Option<OwnedFd>,
}

impl Watch {
    /// For a caller that has blocked all signals. `init`: pidfd of the init of the container
    /// that is joined.
    pub fn new(init: Option<&OwnedFd>) -> Result<Self> {
        let init = init.map(OwnedFd::try_clone).transpose().doing(|| "duplicate the pidfd of init")?;
        Ok(Watch { signals: signal::signalfd_for(&TERMINATING).doing(|| "signalfd")?, init })
    }

    /// Waits until `fd` is readable or at EOF. Errors: a terminating signal, by number and
    /// name; that the container has ended.
    pub fn wait(&self, fd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(fd, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            fds.extend(self.init.as_ref().map(|init| PollFd::new(init, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno).doing(|| "wait for the new process"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            match ready[..] {
                [true, ..] => return Ok(()),
                [_, true, ..] => {
                    let number = signal::read_signalfd(self.signals.as_fd()).doing(|| "read the signalfd")?;
                    bail!("interrupted by signal {number} ({})", signal::description(number));
                }
                [_, _, true] => bail!("the container has ended"),
                _ => {}
            }
        }
    }
}
