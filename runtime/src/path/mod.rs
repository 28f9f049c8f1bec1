//! Paths inside the container. They are opened relative to the descriptor of its root,
//! never through a path of the host; and reads and writes on descriptors.

#![deny(clippy::disallowed_methods)]

pub mod in_root;
pub mod kernel_fs;

pub use in_root::{InRoot, RootFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;

/// Attempts at an openat2(2) that fails with EAGAIN since a rename or a mount raced with
/// it. Bounded: a container could rename in a loop and block the runtime for ever.
const MAX_TRIES: u32 = 10_000;

/// openat2(2), repeated on EAGAIN: with RESOLVE_IN_ROOT or RESOLVE_BENEATH the kernel
/// can't tell whether `..` escaped while anything is renamed. O_CLOEXEC is added.
/// Errors: ESTALE after 10,000 attempts.
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

/// Reads `fd` to its end. The buffer has `expected` bytes and one more, so that the end
/// of a file of that size is seen without a second allocation.
pub fn read_all(fd: impl AsFd, expected: usize) -> rustix::io::Result<Vec<u8>> {
    read(fd, expected + 1, true)
}

/// Reads a file or pipe, opened with O_NONBLOCK, to its end; waits for a pipe's writer.
/// None where it has more than `limit` bytes.
pub fn read_at_most(fd: impl AsFd, limit: usize) -> rustix::io::Result<Option<Vec<u8>>> {
    // read(2) of a FIFO without a writer returns 0, as at its end; poll(2) waits for one.
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

/// Reads `size` bytes, the st_size of a regular file, or less at its end.
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

/// Reads a file of procfs or of cgroups by one read(2), which returns all of it: at most
/// 4095 bytes.
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
