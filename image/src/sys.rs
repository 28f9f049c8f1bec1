//! The only unsafe code.
#![allow(unsafe_code)]

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;
use std::io;

/// Leaves the user and mount namespaces for new ones, unshare(2). Errors: EPERM and ENOSPC where
/// user namespaces are restricted.
pub(crate) fn unshare_user_and_mount() -> rustix::io::Result<()> {
    // SAFETY: without CLONE_FILES no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
}

/// Runs `child` in a new process, which has standard error and the descriptors `kept` alone, ends with
/// this status, and is killed when its parent ends.
/// Errors: this process has several threads, of which the child could find locks held.
pub(crate) fn fork(kept: &[BorrowedFd<'_>], child: impl FnOnce() -> u8) -> io::Result<Pid> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("fork: the process has several threads"));
    }
    let parent = rustix::process::getpid();
    // SAFETY: the process has one thread, so the child finds everything as the parent has it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let killed_with_parent = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
            // A parent that has ended before that has left the child to another.
            let is_ours = killed_with_parent && rustix::process::getppid() == Some(parent);
            let status = if is_ours && close_all_but(kept).is_ok() { child() } else { 1 };
            // SAFETY: ends the process. Nothing of the parent's is flushed or dropped a second time.
            unsafe { libc::_exit(i32::from(status)) }
        }
        pid => Pid::from_raw(pid).ok_or_else(|| io::Error::other("fork: no pid")),
    }
}

/// Closes all descriptors but standard error and these; in a child that ends without dropping what
/// its parent owns.
fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| fd.as_raw_fd().try_into().ok()).chain([2]).collect();
    kept.sort_unstable();
    let mut first = 0;
    for last in kept.into_iter().map(Some).chain([None]) {
        let end = last.map_or(Some(u32::MAX), |last| last.checked_sub(1));
        if let Some(end) = end.filter(|end| first <= *end) {
            // SAFETY: what owns one of them is never used or dropped in this process again.
            if unsafe { libc::close_range(first, end, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = last.map_or(first, |last| last + 1);
    }
    Ok(())
}

/// Asks for memory that is code.
#[cfg(test)]
pub(crate) fn map_code() {
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: at a new place, which nobody uses.
    unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
}

/// Ends the process at once, without what std and libc do at the end.
#[cfg(test)]
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: no memory is passed.
    unsafe { libc::_exit(0) }
}
