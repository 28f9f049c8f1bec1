//! Paths inside the container, which are never paths to us: only descriptors.

#![deny(clippy::disallowed_methods)]

pub mod in_root;
pub mod kernel_fs;

pub use in_root::{InRoot, RootFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;

/// How often a look-up begins anew that a rename or a mount elsewhere has disturbed
/// (EAGAIN of openat2(2)). Whoever renames without end must not hold us for ever.
const MAX_TRIES: u32 = 10_000;

/// openat2(2), tried again while the kernel can't tell whether `..` has escaped.
/// Errors: ESTALE when it never could.
pub fn openat2_retry(
    dir: impl AsFd,
    path: impl rustix::path::Arg + Copy,
    flags: rustix::fs::OFlags,
    resolve: rustix::fs::ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | rustix::fs::OFlags::CLOEXEC;
    retry_eagain(|| rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve))
}

fn retry_eagain<T>(mut look_up: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..MAX_TRIES {
        match look_up() {
            Err(rustix::io::Errno::AGAIN) => {}
            result => return result,
        }
    }
    Err(rustix::io::Errno::STALE)
}

/// Reads to the end of `fd`, with a buffer for `expected` bytes to begin with
/// and one byte more, so that the end shows without another allocation.
pub fn read_all(fd: impl AsFd, expected: usize) -> rustix::io::Result<Vec<u8>> {
    read(fd, expected + 1, true)
}

/// Reads to the end of a file or pipe that was opened with O_NONBLOCK, and waits for
/// a pipe's writer. None if there is more than `limit` bytes.
pub fn read_at_most(fd: impl AsFd, limit: usize) -> rustix::io::Result<Option<Vec<u8>>> {
    // A fifo that nobody has opened yet would seem to be at its end.
    let mut poll = [PollFd::new(&fd, PollFlags::IN)];
    while rustix::event::poll(&mut poll, None).is_err_and(|errno| errno == rustix::io::Errno::INTR) {}
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags - rustix::fs::OFlags::NONBLOCK)?;
    let mut text = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match rustix::io::read(&fd, &mut buffer) {
            Ok(0) => return Ok(Some(text)),
            Ok(length) if text.len() + length > limit => return Ok(None),
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads the `size` bytes that a regular file has, without asking for more.
pub fn read_exactly(fd: impl AsFd, size: usize) -> rustix::io::Result<Vec<u8>> {
    read(fd, size, false)
}

fn read(fd: impl AsFd, size: usize, grows: bool) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; size];
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            if !grows {
                break;
            }
            buffer.resize(buffer.len() * 2, 0);
        }
        match rustix::io::read(&fd, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Reads a small file of the kernel's (procfs, cgroups) in one call: those give
/// all they have, up to 4095 bytes here, at once.
pub fn read_once(fd: impl AsFd) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 4095];
    let length = rustix::io::read(&fd, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Writes all of `data`, in one system call where the kernel takes it whole
/// (cgroup and /proc files want that).
pub fn write_all(fd: impl AsFd, mut data: &[u8]) -> rustix::io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(&fd, data) {
            Ok(n) => data = &data[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_look_up_that_is_disturbed_without_end_is_given_up() {
        assert_eq!(retry_eagain(|| Err::<(), _>(Errno::AGAIN)), Err(Errno::STALE));
        let mut left = 3;
        let result = retry_eagain(|| {
            left -= 1;
            if left > 0 { Err(Errno::AGAIN) } else { Ok(()) }
        });
        assert_eq!(result, Ok(()));
    }
}
