//! The start FIFO: it exists in the state directory exactly while the container is in state
//! created. Init has it open with O_RDWR and waits in read(2) for `start`; it reports an
//! error by write(2). Nothing else is needed, because the container's seccomp filter
//! applies by then. Init's descriptor is FD_CLOEXEC: `start` reads EOF after execve(2).

use super::StateDir;
use super::files::{START_FIFO, START_FIFO_UNPUBLISHED};
use crate::error::{Context, Error, Result};
use crate::path::read_all;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// The byte that `start` writes.
const START: &[u8] = b"1";
/// Largest error text in bytes; longer ones are cut.
const MAX: usize = 8192;

/// Creates the FIFO and opens it for init, before init is cloned.
pub fn make(dir: &StateDir) -> Result<OwnedFd> {
    let make = || {
        rustix::fs::mknodat(dir, START_FIFO_UNPUBLISHED, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        rustix::fs::openat(dir, START_FIFO_UNPUBLISHED, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    };
    make().doing(|| "create the start FIFO")
}

/// Renames the FIFO to its final name: the container is now in state created.
pub fn publish(dir: &StateDir) -> Result<()> {
    rustix::fs::renameat(dir, START_FIFO_UNPUBLISHED, dir, START_FIFO).doing(|| "publish the start FIFO")
}

/// In init: waits for `start`.
pub fn wait(fifo: &OwnedFd) -> Result<()> {
    let mut byte = [0u8; START.len()];
    loop {
        match rustix::io::read(fifo, &mut byte) {
            Err(Errno::INTR) => {}
            // O_RDWR: no EOF while init itself has the FIFO open for writing.
            result => return result.map(drop).doing(|| "wait for start"),
        }
    }
}

/// Tells init to start, and unlinks the FIFO: the container is no longer in state created,
/// even if the caller dies. Returns the descriptor for [`wait_for_exec`].
pub fn signal(dir: &StateDir) -> Result<OwnedFd> {
    let what = || "start the container's init";
    // O_NONBLOCK: otherwise open(2) waits for the other end, fifo(7).
    let open = |mode| rustix::fs::openat(dir, START_FIFO, mode | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let reader = open(OFlags::RDONLY).doing(what)?;
    let writer = open(OFlags::WRONLY).doing(what)?;
    dir.unlink(START_FIFO)?;
    rustix::io::write(&writer, START).doing(what)?;
    Ok(reader)
}

/// Waits until init has executed its program. Errors: the one that init wrote. Reads only
/// after all writers have closed the FIFO; earlier it would take the start byte from init.
pub fn wait_for_exec(reader: &OwnedFd) -> Result<()> {
    let what = || "wait for init to execute the program";
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::empty())], None) {
            Err(Errno::INTR) => {}
            result => break result.map(drop).doing(what)?,
        }
    }
    let text = read_all(reader, MAX - 1).doing(what)?;
    match &*text {
        [] => Ok(()),
        START => Err(Error::new("init ended before it received start")),
        text => Err(Error::from_bytes(text)),
    }
}
