//! The only file that may hold unsafe code: real-time signals, for which
//! neither nix nor rustix has a checked type; and what a process inherits, from
//! us and by us.
#![allow(unsafe_code)]

use nix::libc;
use nix::sys::signal::{self, SigHandler, SigSet};
use rustix::process::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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

/// Prepares a command's process, between fork and exec:
///
/// * No signal is blocked in it. The ones that the loop reads from a signalfd
///   are blocked here, a mask outlives execve, and std has kept it since 1.67:
///   without this the container's init would never get a SIGTERM.
/// * It writes its pid to `mark`, so that there is no moment at which it runs
///   and a monitor that comes after a killed one could not know of it.
pub fn prepare(command: &mut Command, mark: OwnedFd) {
    let prepare = move || {
        let pid = nix::unistd::getpid().as_raw();
        nix::unistd::write(&mark, &pid.to_ne_bytes())?;
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // the closure makes three (getpid, write, pthread_sigmask), allocates
    // nothing, and its file is closed by execve.
    unsafe { command.pre_exec(prepare) };
}

/// Gives up what a careless caller left us with. To be called before anything
/// is opened.
///
/// * Open files: they would reach the runtime and perhaps the container
///   (CVE-2016-9962 and CVE-2024-21626 began so), and the caller may wait for
///   the end of a pipe that we would hold open for as long as we live.
/// * An ignored SIGCHLD: the kernel would then reap init itself, and its status
///   would be lost.
/// * Blocked signals: those that the monitor does not read would never arrive.
pub fn shed_inheritance() -> io::Result<()> {
    // SAFETY: SIG_DFL is no handler, so no code of ours can run in one.
    unsafe { signal::signal(signal::Signal::SIGCHLD, SigHandler::SigDfl) }?;
    SigSet::empty().thread_set_mask()?;
    // SAFETY: nothing has been opened yet, so no value of this program owns a
    // descriptor above the standard ones.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
