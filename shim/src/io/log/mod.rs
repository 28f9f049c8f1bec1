//! The log of a container's output: appended to by later runs, in at most two files of a
//! limited size.

mod k8s_file;
mod rotate;
mod tail;

use crate::stream::Stream;
use firn::state::rfc3339;
use k8s_file::{Record, Records};
use rotate::RotatedFile;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;
use tail::Tail;

/// Bytes of records after which they are written: one write(2) for many short lines.
const BATCH: usize = 16 << 10;

/// A log file, and the last lines that were written to it.
#[derive(Debug)]
pub(crate) struct Log {
    file: RotatedFile,
    batch: Vec<u8>,
    /// Whether a stream's last record was `P`, so that its line is not ended; indexed by [`Stream`].
    unended: [bool; 2],
    pub(crate) tail: Tail,
}

impl Log {
    /// Opens the log at `path` for appending. Past `limit` bytes it is moved to `PATH.1`; 0 means
    /// no limit.
    pub(crate) fn open(path: PathBuf, limit: u64) -> io::Result<Log> {
        let (unended, cut_off) = k8s_file::find_unended(&rotate::read_end(&path)?);
        let file = RotatedFile::open(path, limit)?;
        let mut log = Log { file, batch: Vec::new(), unended, tail: Tail::default() };
        if cut_off {
            log.batch.push(b'\n');
        }
        // Lines of a monitor that was killed, which our first ones are no part of.
        log.end_stream(Stream::Stdout)?;
        log.end_stream(Stream::Stderr)?;
        Ok(log)
    }

    /// Ends the stream's last line by an empty `F` record, where it has no newline.
    pub(crate) fn end_stream(&mut self, stream: Stream) -> io::Result<()> {
        if std::mem::take(&mut self.unended[stream as usize]) {
            let stamp = rfc3339(SystemTime::now());
            Record { text: b"", full: true }.format(&stamp, stream, &mut self.batch);
        }
        self.flush()
    }

    /// Writes a chunk of output. A line without its newline is written as a `P` record and not
    /// kept, so that memory has a bound.
    pub(crate) fn write(&mut self, stream: Stream, chunk: &[u8]) -> io::Result<()> {
        self.tail.push(chunk);
        let stamp = rfc3339(SystemTime::now());
        for record in Records::new(chunk) {
            self.unended[stream as usize] = !record.full;
            record.format(&stamp, stream, &mut self.batch);
            if self.batch.len() >= BATCH {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let written = self.file.append(&self.batch);
        self.batch.clear();
        written
    }
}
