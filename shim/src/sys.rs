//! The only file that may hold unsafe code: real-time signals, for which
//! neither nix nor rustix has a checked type.
#![allow(unsafe_code)]

use rustix::process::Signal;
use std::io;
use std::os::fd::AsFd;

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
