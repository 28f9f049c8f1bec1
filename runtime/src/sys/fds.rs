//! close_range(2), and descriptors that a caller left open on purpose.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::os::fd::{FromRawFd, RawFd};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11).
pub fn cloexec_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor.
    unsafe { syscall!(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC)? };
    Ok(())
}

/// Closes the descriptors `first` to `last`. As [`close_from`].
pub fn close_range(first: u32, last: u32) -> rustix::io::Result<()> {
    // SAFETY: as for close_from.
    unsafe { syscall!(libc::SYS_close_range, first, last, 0u32)? };
    Ok(())
}

/// Closes every descriptor from `first` on. For use just before execve only:
/// every `OwnedFd` of the process above it is dead afterwards.
pub fn close_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: the caller execs or exits next and drops no OwnedFd in between.
    unsafe { syscall!(libc::SYS_close_range, first, u32::MAX, 0u32)? };
    Ok(())
}

/// Takes over a descriptor that the caller of this program left open.
pub fn inherited(number: RawFd) -> rustix::io::Result<OwnedFd> {
    // SAFETY: fcntl on a number that may be no descriptor at all only fails.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 {
        return Err(Errno::BADF);
    }
    // SAFETY: open, as just seen, and inherited, so nothing else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `fd` appear under the number `target`, open across execve.
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> rustix::io::Result<()> {
    // SAFETY: callers replace standard streams only, which Rust does not own.
    unsafe { syscall!(libc::SYS_dup2, fd.as_raw_fd(), target)? };
    Ok(())
}
