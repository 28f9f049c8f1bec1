//! What was taken from the container's output and is not logged yet: so that no byte is lost with a
//! monitor that is killed, and none is logged twice.
//!
//! A read(2) would take bytes out of the pipe into a memory that dies with the monitor. splice(2) moves
//! them from the pipe to a memfd in one call, which the keeper holds too. They are logged from there,
//! and a header says how far, and how long the log's files were then. After SIGKILL the next monitor
//! cuts the files back to these lengths, and logs what follows anew.
//!
//! ```text
//! pipe ──splice──► memfd: │ header │ logged │ pending │ ──► log
//! terminal ──splice──► relay pipe ──splice──┘
//! ```
//!
//! splice(2) needs a pipe at one end, so a terminal's bytes take the way through one more, whose reading
//! end the keeper holds as well.

use super::log::Position;
use crate::process::pipes;
use crate::stream::Stream;
use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use rustix::pipe::{SpliceFlags, splice};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes that are taken at once.
pub(super) const CHUNK: usize = 16 << 10;
/// Where the bytes begin; the header is before.
const BEGIN: u64 = 4096;
/// The memory is given back when so much is logged.
const LIMIT: u64 = BEGIN + (32 << 10);

/// What the memfd begins with: JSON, and a newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// Bytes before this offset are logged.
    logged: u64,
    /// Of those after it.
    stream: Stream,
    /// Of the log when they were logged.
    log: Position,
}

/// The memfd, and the relay pipe.
#[derive(Debug)]
pub(crate) struct Spool {
    file: OwnedFd,
    header: Header,
    /// The offset behind the last byte.
    end: u64,
    /// For a terminal: reading and writing end.
    relay: Option<(OwnedFd, OwnedFd)>,
}

/// What taking has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Some,
    Nothing,
    End,
}

impl Spool {
    /// An empty one, for a log that is at `log`.
    pub(crate) fn new(log: Position) -> io::Result<Spool> {
        let file = memfd_create(c"firn-shim-spool", MemfdFlags::CLOEXEC)?;
        let header = Header { logged: BEGIN, stream: Stream::Stdout, log };
        let mut spool = Spool { file, header, end: BEGIN, relay: None };
        spool.write_header()?;
        Ok(spool)
    }

    /// That of a monitor that was killed, with the reading end of its relay pipe. Errors: it is none.
    pub(crate) fn of_killed(file: OwnedFd, relay: Option<OwnedFd>) -> io::Result<Spool> {
        let mut text = [0; BEGIN as usize];
        let length = pread(&file, &mut text, 0)?;
        let line = text[..length].split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut header: Header = serde_json::from_slice(line)?;
        let end = u64::try_from(fstat(&file)?.st_size).unwrap_or_default().max(BEGIN);
        // It was emptied, and the header not written any more.
        header.logged = header.logged.min(end);
        let mut spool = Spool { file, header, end, relay: None };
        if let Some(relay) = relay {
            // At its end, or where a copy of the writing end is open somewhere, empty.
            while matches!(spool.splice_from(relay.as_fd()), Ok(1..)) {}
        }
        Ok(spool)
    }

    /// Where the log was when all but the pending bytes were logged.
    pub(super) fn position(&self) -> &Position {
        &self.header.log
    }

    /// Makes the relay pipe, before the first byte of a terminal is taken.
    pub(super) fn open_relay(&mut self) -> io::Result<()> {
        if self.relay.is_none() {
            self.relay = Some(pipes::pipe_of_others()?);
        }
        Ok(())
    }

    /// Takes what an output holds, at most a chunk. Nothing must be pending.
    pub(super) fn take(&mut self, from: BorrowedFd<'_>, stream: Stream, is_terminal: bool) -> io::Result<Taken> {
        if self.header.stream != stream {
            self.header.stream = stream;
            self.write_header()?;
        }
        let taken = match is_terminal {
            true => self.take_from_terminal(from),
            false => self.splice_from(from),
        };
        match taken {
            Ok(0) => Ok(Taken::End),
            Ok(_) => Ok(Taken::Some),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Taken::Nothing),
            // Of a terminal's master: no process has the slave open.
            Err(Errno::IO) => Ok(Taken::End),
            Err(errno) => Err(errno.into()),
        }
    }

    fn splice_from(&mut self, pipe: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        let mut offset = self.end;
        let count = splice(pipe, None, &self.file, Some(&mut offset), CHUNK, SpliceFlags::NONBLOCK)?;
        self.end += count as u64;
        Ok(count)
    }

    fn take_from_terminal(&mut self, master: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        let Some((reader, writer)) = self.relay.take() else { return Err(Errno::PIPE) };
        let taken = splice(master, None, &writer, None, CHUNK, SpliceFlags::NONBLOCK);
        let taken = taken.and_then(|_| self.splice_from(reader.as_fd()));
        self.relay = Some((reader, writer));
        taken
    }

    /// The first bytes that are pending, with their stream; nothing when there are none.
    pub(super) fn pending<'a>(&self, buffer: &'a mut [u8; CHUNK]) -> io::Result<(Stream, &'a [u8])> {
        let left = usize::try_from(self.end - self.header.logged).unwrap_or(usize::MAX).min(CHUNK);
        let count = if left == 0 { 0 } else { pread(&self.file, &mut buffer[..left], self.header.logged)? };
        Ok((self.header.stream, &buffer[..count]))
    }

    /// The next `count` bytes that were pending are logged, and the log is at `log` now.
    pub(super) fn set_logged(&mut self, count: usize, log: Position) -> io::Result<()> {
        self.header.log = log;
        self.header.logged += count as u64;
        self.write_header()?;
        if self.header.logged == self.end && self.end > LIMIT {
            // A monitor that is killed here leaves a header that points behind the end: nothing is
            // pending.
            ftruncate(&self.file, BEGIN)?;
            self.end = BEGIN;
            self.header.logged = BEGIN;
            self.write_header()?;
        }
        Ok(())
    }

    fn write_header(&mut self) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self.header)?;
        text.push(b'\n');
        // In one page, and so in one piece.
        if text.len() as u64 > BEGIN {
            return Err(io::Error::other("the header of the spool is too long"));
        }
        if pwrite(&self.file, &text, 0)? != text.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// What outlives the monitor: the memfd, and the relay pipe's reading end.
    pub(crate) fn held(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.file.as_fd(), self.relay.as_ref().map(|(reader, _)| reader.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::pipes::output_pipe;
    use nix::pty::openpty;
    use nix::unistd::write;

    fn all_pending(spool: &Spool) -> Vec<u8> {
        let mut buffer = [0; CHUNK];
        spool.pending(&mut buffer).unwrap().1.to_vec()
    }

    /// The memfd as the next monitor finds it.
    fn killed(spool: Spool) -> Spool {
        let relay = spool.relay.as_ref().map(|(reader, _)| reader.try_clone().unwrap());
        let file = spool.file.try_clone().unwrap();
        drop(spool);
        Spool::of_killed(file, relay).unwrap()
    }

    #[test]
    fn what_was_taken_and_not_logged_outlives_the_monitor() {
        let (reader, writer) = output_pipe().unwrap();
        let mut spool = Spool::new(Position::default()).unwrap();
        assert_eq!(spool.take(reader.as_fd(), Stream::Stderr, false).unwrap(), Taken::Nothing);
        write(&writer, b"one two").unwrap();
        assert_eq!(spool.take(reader.as_fd(), Stream::Stderr, false).unwrap(), Taken::Some);
        let mut spool = killed(spool);
        assert_eq!(all_pending(&spool), b"one two");
        spool.set_logged(4, Position::default()).unwrap();
        let mut spool = killed(spool);
        assert_eq!((all_pending(&spool), spool.header.stream), (b"two".to_vec(), Stream::Stderr));
        spool.set_logged(3, Position::default()).unwrap();
        drop(writer);
        assert_eq!(spool.take(reader.as_fd(), Stream::Stdout, false).unwrap(), Taken::End);
        assert!(all_pending(&killed(spool)).is_empty());
    }

    #[test]
    fn its_memory_is_given_back() {
        let (reader, writer) = output_pipe().unwrap();
        let mut spool = Spool::new(Position::default()).unwrap();
        for _ in 0..100 {
            write(&writer, &[b'x'; 10_000]).unwrap();
            assert_eq!(spool.take(reader.as_fd(), Stream::Stdout, false).unwrap(), Taken::Some);
            assert_eq!(all_pending(&spool).len(), 10_000);
            spool.set_logged(10_000, Position::default()).unwrap();
            assert!(spool.end <= LIMIT + CHUNK as u64);
        }
        // Killed after the memory was given back, and before the header says so.
        ftruncate(&spool.file, BEGIN).unwrap();
        let mut spool = killed(spool);
        assert!(all_pending(&spool).is_empty());
        write(&writer, b"more").unwrap();
        assert_eq!(spool.take(reader.as_fd(), Stream::Stdout, false).unwrap(), Taken::Some);
        assert_eq!(all_pending(&spool), b"more");
    }

    #[test]
    fn a_terminal_goes_through_the_relay_pipe() {
        let pair = openpty(None, None).unwrap();
        let mut spool = Spool::new(Position::default()).unwrap();
        spool.open_relay().unwrap();
        write(&pair.slave, b"a\n").unwrap();
        assert_eq!(spool.take(pair.master.as_fd(), Stream::Stdout, true).unwrap(), Taken::Some);
        assert_eq!(all_pending(&spool), b"a\r\n");
        spool.set_logged(3, Position::default()).unwrap();
        // Killed between the two calls.
        write(&pair.slave, b"b\n").unwrap();
        let (_, writer) = spool.relay.as_ref().unwrap();
        splice(&pair.master, None, writer, None, CHUNK, SpliceFlags::NONBLOCK).unwrap();
        let mut spool = killed(spool);
        assert_eq!(all_pending(&spool), b"b\r\n");
        spool.set_logged(3, Position::default()).unwrap();
        drop(pair.slave);
        spool.open_relay().unwrap();
        assert_eq!(spool.take(pair.master.as_fd(), Stream::Stdout, true).unwrap(), Taken::End);
    }
}
