//! A log that grows, through its rotation.

use super::read::{Line, Lines};
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reads a log from where it is now.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    changes: Inotify,
    file: Option<File>,
    /// Bytes of a record whose end has not come.
    rest: Vec<u8>,
    lines: Lines,
}

impl Follower {
    /// Of the log at `path`, which may not be there yet, though its directory is. What it holds already
    /// is left out.
    pub fn at_end(path: &Path) -> Result<Self> {
        let what = || format!("follow {}", path.display());
        let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).with_context(what)?;
        let directory = path.parent().with_context(what)?;
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        changes.add_watch(directory, flags).with_context(what)?;
        let file = open(path).with_context(what)?;
        if let Some(mut file) = file.as_ref() {
            file.seek(SeekFrom::End(0)).with_context(what)?;
        }
        Ok(Follower { path: path.to_owned(), changes, file, rest: Vec::new(), lines: Lines::default() })
    }

    /// How many bytes of the log were there when this began; `None` without a log.
    pub fn position(&self) -> Option<u64> {
        self.file.as_ref().and_then(|mut file| file.stream_position().ok())
    }

    /// The lines that have come since the last call.
    pub fn read(&mut self) -> Result<Vec<Line>> {
        let what = || format!("read {}", self.path.display());
        while self.changes.read_events().is_ok() {}
        let mut lines = Vec::new();
        loop {
            if let Some(file) = &mut self.file {
                file.read_to_end(&mut self.rest).with_context(what)?;
            }
            let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for record in self.rest[..end].split(|byte| *byte == b'\n') {
                lines.extend(self.lines.push(record));
            }
            self.rest.drain(..end);
            // What was moved away has been read to its end; the next has another inode.
            let next = open(&self.path).with_context(what)?;
            let inode = |file: &Option<File>| file.as_ref().and_then(|file| Some(file.metadata().ok()?.ino()));
            if inode(&next) == inode(&self.file) || next.is_none() {
                return Ok(lines);
            }
            self.file = next;
        }
    }
}

impl AsFd for Follower {
    /// Readable when the log has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

fn open(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Waits until one of them is readable.
pub fn wait(fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => {}
            result => return result.map(drop).context("poll"),
        }
    }
}
