//! How `start` reaches an init that waits: a FIFO in the state directory, which is
//! there exactly while the container is created and not started. Init has it open
//! for reading and for writing, and needs no more than read(2) to wait and
//! write(2) to tell of an error: the container's seccomp filter applies by then.
//! Its descriptor closes on exec, which `start` sees as the end of the FIFO.

use super::StateDir;
use super::files::{START_FIFO, START_FIFO_UNPUBLISHED};
use crate::error::{Context, Error, Result};
use crate::path::read_all;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// What `start` writes.
const WORD: &[u8] = b"1";
/// An error text is cut here.
const MAX: usize = 8192;

/// Init's descriptor, made before init is.
pub fn make(dir: &StateDir) -> Result<OwnedFd> {
    let make = || {
        rustix::fs::mknodat(dir, START_FIFO_UNPUBLISHED, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        rustix::fs::openat(dir, START_FIFO_UNPUBLISHED, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    };
    make().doing(|| "make the start FIFO")
}

/// Gives it its name: from here on the container is `created`.
pub fn publish(dir: &StateDir) -> Result<()> {
    rustix::fs::renameat(dir, START_FIFO_UNPUBLISHED, dir, START_FIFO).doing(|| "publish the start FIFO")
}

/// Waits, in init, until somebody says start.
pub fn wait(fifo: &OwnedFd) -> Result<()> {
    let mut byte = [0u8; WORD.len()];
    loop {
        match rustix::io::read(fifo, &mut byte) {
            Err(Errno::INTR) => {}
            // Init holds it open for writing, so it has no end here.
            result => return result.map(drop).doing(|| "wait for start"),
        }
    }
}

/// Tells init to start: the container is no longer `created`, whatever becomes of
/// who tells it. For `wait_for_exec`.
pub fn signal(dir: &StateDir) -> Result<OwnedFd> {
    let what = || "start the container's init";
    // O_NONBLOCK: an open of a FIFO waits for its other side otherwise, fifo(7).
    let open = |mode| rustix::fs::openat(dir, START_FIFO, mode | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let reader = open(OFlags::RDONLY).doing(what)?;
    let writer = open(OFlags::WRONLY).doing(what)?;
    dir.unlink(START_FIFO)?;
    rustix::io::write(&writer, WORD).doing(what)?;
    Ok(reader)
}

/// Waits until init has become its program. Errors: that of a program that could not be
/// run. Nothing is read before all writers are gone, or the word would be taken from init.
pub fn wait_for_exec(reader: &OwnedFd) -> Result<()> {
    let what = || "hear from init";
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::empty())], None) {
            Err(Errno::INTR) => {}
            result => break result.map(drop).doing(what)?,
        }
    }
    let text = read_all(reader, MAX - 1).doing(what)?;
    match &*text {
        [] => Ok(()),
        WORD => Err(Error::new("init ended before it was started")),
        text => Err(Error::from_bytes(text)),
    }
}
