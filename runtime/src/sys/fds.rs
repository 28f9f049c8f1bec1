//! close_range(2), and descriptors that a caller left open on purpose.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::fd::{IntoRawFd, RawFd};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11).
pub fn cloexec_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor.
    unsafe { syscall!(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC)? };
    Ok(())
}

/// Closes the descriptors `first` to `last`; whoever owned them must have let
/// go of them before.
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

pub fn is_open(number: RawFd) -> bool {
    // SAFETY: reading a flag invalidates no descriptor; a number that is none fails.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// A descriptor that another thread of ours owns, by its number.
pub fn borrow(number: RawFd) -> rustix::io::Result<BorrowedFd<'static>> {
    if !is_open(number) {
        return Err(rustix::io::Errno::BADF);
    }
    // SAFETY: it is open, and callers pass one that is not closed before exec.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Takes close-on-exec from a descriptor that the caller left open.
pub fn keep_open(number: RawFd) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor; a number that is none fails.
    super::check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into())?;
    Ok(())
}

/// Descriptors that are done with. They are closed many at a time, each run of
/// neighbouring numbers by one call: a container's start opens some hundred,
/// and a close for each would be a fifth of all its system calls.
#[derive(Debug, Default)]
pub struct Bin(Vec<OwnedFd>);

impl Bin {
    /// So many may lie here, for a process has a limit of open files.
    const MOST: usize = 128;

    pub fn put(&mut self, fd: OwnedFd) {
        self.0.push(fd);
        if self.0.len() >= Self::MOST {
            self.empty();
        }
    }

    fn empty(&mut self) {
        let mut numbers: Vec<u32> = self.0.drain(..).map(|fd| fd.into_raw_fd() as u32).collect();
        numbers.sort_unstable();
        let mut runs = numbers.as_slice();
        while let [first, ..] = runs {
            let length = (1..runs.len()).find(|n| runs[*n] != first + *n as u32).unwrap_or(runs.len());
            // Closing what is ours can fail only by leaving it open.
            let _ = close_range(*first, first + length as u32 - 1);
            runs = &runs[length..];
        }
    }
}

impl Drop for Bin {
    fn drop(&mut self) {
        self.empty();
    }
}

/// Makes `fd` appear under the number `target`, open across execve.
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> rustix::io::Result<()> {
    // SAFETY: callers replace standard streams only, which Rust does not own.
    super::check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    Ok(())
}
