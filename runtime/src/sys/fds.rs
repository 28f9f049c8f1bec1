//! close_range(2), and descriptors that a caller left open on purpose.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11).
pub fn set_cloexec_from(first: u32) -> rustix::io::Result<()> {
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

/// Opens /dev/null for each standard stream that the caller closed: the next file
/// that we open would be taken for it, shown to hooks and given to the container's
/// user. One poll(2) tells which are open.
pub fn open_standard_streams() -> rustix::io::Result<()> {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: pointer and length belong to one live array.
    super::check(unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) }.into())?;
    for stream in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
        // The lowest number that is free, open(2): it stays.
        debug_assert_eq!(null.as_raw_fd(), stream.fd);
        let _ = null.into_raw_fd();
    }
    Ok(())
}

/// Those of the `count` descriptors from `first` on that are open. To be asked
/// before anything of ours is open: a number that the caller has left closed
/// becomes one of ours sooner or later.
pub fn open_in_range(first: u32, count: u32) -> std::io::Result<Vec<RawFd>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let range = first..first.saturating_add(count);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        numbers.extend(number.filter(|number| range.contains(number)).map(|number| number as RawFd));
    }
    // The list itself was open, and is so no more.
    numbers.retain(|number| is_open(*number));
    numbers.sort_unstable();
    Ok(numbers)
}

pub fn is_open(number: RawFd) -> bool {
    // SAFETY: reading a flag invalidates no descriptor; a number that is none fails.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// A descriptor of one's own for what the caller, or another thread, has open
/// under `number`. EBADF where nothing is.
pub fn duplicate(number: RawFd) -> rustix::io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC invalidates no descriptor; a number that is none fails.
    let fd = super::check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Takes close-on-exec from a descriptor that the caller left open.
pub fn clear_cloexec(number: RawFd) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor; a number that is none fails.
    super::check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into())?;
    Ok(())
}

/// Descriptors that are done with. They are closed many at a time, each run of
/// neighbouring numbers by one call: a container's start opens some hundred,
/// and a close for each would be a fifth of all its system calls.
#[derive(Debug, Default)]
pub struct CloseBatch(Vec<OwnedFd>);

impl CloseBatch {
    /// So many may lie here, for a process has a limit of open files.
    const CAPACITY: usize = 128;

    pub fn add(&mut self, fd: OwnedFd) {
        self.0.push(fd);
        if self.0.len() >= Self::CAPACITY {
            self.close_all();
        }
    }

    fn close_all(&mut self) {
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

impl Drop for CloseBatch {
    fn drop(&mut self) {
        self.close_all();
    }
}

/// Makes `fd` appear under the number `target`, open across execve.
pub fn dup2(fd: BorrowedFd<'_>, target: RawFd) -> rustix::io::Result<()> {
    // SAFETY: callers replace standard streams only, which Rust does not own.
    super::check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    Ok(())
}
