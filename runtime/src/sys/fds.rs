//! Descriptors by number: close_range(2), fcntl(2), dup2(2).

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Sets FD_CLOEXEC on every descriptor from `first` on, by close_range(2) with
/// CLOSE_RANGE_CLOEXEC (Linux 5.11).
pub fn set_cloexec_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor.
    unsafe { syscall!(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC)? };
    Ok(())
}

/// Closes the descriptors `first` to `last`, close_range(2). An `OwnedFd` of that range
/// must have been given up (`into_raw_fd`) before.
pub fn close_range(first: u32, last: u32) -> rustix::io::Result<()> {
    // SAFETY: as for close_from.
    unsafe { syscall!(libc::SYS_close_range, first, last, 0u32)? };
    Ok(())
}

/// Closes every descriptor from `first` on. Just before execve(2) or _exit(2) only:
/// every `OwnedFd` in that range is invalid afterwards.
pub fn close_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: the caller execs or exits next and drops no OwnedFd in between.
    unsafe { syscall!(libc::SYS_close_range, first, u32::MAX, 0u32)? };
    Ok(())
}

/// Opens /dev/null for each of descriptors 0 to 2 that is closed. Otherwise the next file
/// opened, such as a descriptor of the host's, would get that number and be inherited by
/// hooks and by the container's program as a standard stream. One poll(2) tells which
/// are open (POLLNVAL).
pub fn open_standard_streams() -> rustix::io::Result<()> {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: pointer and length belong to one live array.
    super::check(unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) }.into())?;
    for stream in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
        // The lowest free number, open(2): kept under it.
        debug_assert_eq!(null.as_raw_fd(), stream.fd);
        let _ = null.into_raw_fd();
    }
    Ok(())
}

/// The open descriptors among the `count` from `first` on, in ascending order. Must be
/// asked before firn opens anything: a number that the caller left closed is reused.
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
    // The directory stream itself was listed, and is closed by now.
    numbers.retain(|number| is_open(*number));
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether descriptor `number` is open, F_GETFD.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: reading a flag invalidates no descriptor; a number that is none fails.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// An owned duplicate (F_DUPFD_CLOEXEC) of descriptor `number`, which the caller or
/// another thread owns. Errors: EBADF where it is closed.
pub fn duplicate(number: RawFd) -> rustix::io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC invalidates no descriptor; a number that is none fails.
    let fd = super::check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Clears FD_CLOEXEC on descriptor `number`. Errors: EBADF where it is closed.
pub fn clear_cloexec(number: RawFd) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor; a number that is none fails.
    super::check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into())?;
    Ok(())
}

/// Descriptors to close. They are closed many at a time, each run of consecutive numbers
/// by one close_range(2): the creation of a container opens about a hundred, and a
/// close(2) for each would be a fifth of all its system calls.
#[derive(Debug, Default)]
pub struct CloseBatch(Vec<OwnedFd>);

impl CloseBatch {
    /// Descriptors held before they are closed, well below the usual RLIMIT_NOFILE of 1024.
    const CAPACITY: usize = 128;

    /// Takes `fd` to be closed at the latest when the batch is dropped.
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
            // close_range(2) of owned descriptors has no error to act on.
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

/// dup2(2): standard stream `target` (0 to 2) becomes a duplicate of `fd` without FD_CLOEXEC.
/// Errors: EBADF for another number, which an `OwnedFd` may own.
pub fn dup2(fd: BorrowedFd<'_>, target: RawFd) -> rustix::io::Result<()> {
    if !(0..=2).contains(&target) {
        return Err(rustix::io::Errno::BADF);
    }
    // SAFETY: no value of Rust's owns a standard stream.
    super::check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    Ok(())
}
