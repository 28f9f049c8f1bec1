//! The only file that may hold unsafe code: real-time signals, for which
//! neither nix nor rustix has a checked type, and the signal mask of children.
#![allow(unsafe_code)]

use nix::sys::signal::SigSet;
use rustix::process::Signal;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sends signal `number` to the process behind `pidfd`.
pub fn signal_pidfd(pidfd: impl AsFd, number: i32) -> io::Result<()> {
    let signal = match Signal::from_named_raw(number) {
        Some(signal) => signal,
        None if (34..=64).contains(&number) => {
            // SAFETY: the C library keeps 32 and 33 for its own threads and
            // starts SIGRTMIN at 34; the kernel's last signal is 64. What is
            // left is a real-time signal that no library here relies on.
            unsafe { Signal::from_raw_unchecked(number) }
        }
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

/// Lets a command start with no signal blocked. The ones that the loop reads
/// from a signalfd are blocked here, a mask outlives execve, and std has kept
/// it since 1.67: without this the container's init would never get a SIGTERM.
pub fn unblock_signals(command: &mut Command) {
    let unblock = || SigSet::empty().thread_set_mask().map_err(io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // the closure makes one, pthread_sigmask, and owns nothing.
    unsafe { command.pre_exec(unblock) };
}
