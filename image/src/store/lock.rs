//! Locks of directories (flock(2)), which end with the process, however that is.

use crate::progress::Progress;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _directory: OwnedFd,
}

impl DirectoryLock {
    /// With others who use what is there, and add to it.
    pub(crate) fn shared(path: &Path) -> io::Result<Self> {
        Self::wait(path, FlockOperation::NonBlockingLockShared, FlockOperation::LockShared)
    }

    /// Alone, to remove things.
    pub(crate) fn alone(path: &Path) -> io::Result<Self> {
        Self::wait(path, FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive)
    }

    fn wait(path: &Path, at_once: FlockOperation, operation: FlockOperation) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        match flock(&directory, at_once) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            result => return Ok(result.map(|()| Self { _directory: directory })?),
        }
        let _told = Progress::waiting("wait for other runs of firn-image");
        loop {
            match flock(&directory, operation) {
                Err(Errno::INTR) => {}
                result => return Ok(result.map(|()| Self { _directory: directory })?),
            }
        }
    }
}
