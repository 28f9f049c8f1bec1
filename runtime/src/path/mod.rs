//! Paths inside the container, which are never paths to us: only descriptors.

#![deny(clippy::disallowed_methods)]

pub mod in_root;
pub mod procfs;

pub use in_root::{InRoot, RootFd};
pub use procfs::ProcFd;

use rustix::fd::AsFd;

/// Reads to the end of `fd`, with a buffer for `expected` bytes to begin with
/// and one byte more, so that the end shows without another allocation.
pub fn read_all(fd: impl AsFd, expected: usize) -> rustix::io::Result<Vec<u8>> {
    read(fd, expected + 1, true)
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
