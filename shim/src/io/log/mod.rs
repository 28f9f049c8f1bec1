//! The container's output on disk: lines as Kubernetes reads them, appended to
//! across restarts, in at most two files of a fixed size.

pub mod k8s_file;
pub mod rotate;
pub mod tail;

pub use k8s_file::Stream;
use k8s_file::{Record, Records};
use rotate::Rotating;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;
pub use tail::Tail;

/// Written at once up to this size, however many short lines it holds.
const BATCH: usize = 16 << 10;

/// A log file and the last lines that went into it.
#[derive(Debug)]
pub struct Log {
    file: Rotating,
    batch: Vec<u8>,
    /// Whose last record goes on in its next one.
    open: Streams,
    pub tail: Tail,
}

type Streams = [bool; 2];

impl Log {
    pub fn open(path: PathBuf, size: u64) -> io::Result<Log> {
        let (left_open, cut) = k8s_file::left_open(&rotate::end_of(&path)?);
        let file = Rotating::open(path, size)?;
        let mut log = Log { file, batch: Vec::new(), open: left_open, tail: Tail::default() };
        if cut {
            log.batch.push(b'\n');
        }
        // What a monitor that was killed has left: not a part of our first lines.
        log.end(Stream::Stdout)?;
        log.end(Stream::Stderr)?;
        Ok(log)
    }

    /// Closes the stream's last line: whoever wrote it has gone without a newline.
    pub fn end(&mut self, stream: Stream) -> io::Result<()> {
        if std::mem::take(&mut self.open[stream as usize]) {
            let stamp = crate::clock::rfc3339(SystemTime::now());
            Record { text: b"", full: true }.format(&stamp, stream, &mut self.batch);
        }
        self.flush()
    }

    /// Writes one read's worth of output. A line without its end is written as
    /// a partial record instead of being kept, so memory has a bound.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) -> io::Result<()> {
        self.tail.push(chunk);
        let stamp = crate::clock::rfc3339(SystemTime::now());
        for record in Records::new(chunk) {
            self.open[stream as usize] = !record.full;
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
