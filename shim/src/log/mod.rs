//! The container's output on disk: lines as Kubernetes reads them, appended to
//! across restarts, in at most two files of a fixed size.

pub mod lines;
pub mod rotate;
pub mod tail;

use lines::Records;
pub use lines::Stream;
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
    pub tail: Tail,
}

impl Log {
    pub fn open(path: PathBuf, size: u64) -> io::Result<Log> {
        Ok(Log { file: Rotating::open(path, size)?, batch: Vec::new(), tail: Tail::default() })
    }

    /// Writes one read's worth of output. A line without its end is written as
    /// a partial record instead of being kept, so memory has a bound.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) -> io::Result<()> {
        self.tail.push(chunk);
        let stamp = crate::clock::rfc3339(SystemTime::now());
        for record in Records::new(chunk) {
            record.format(&stamp, stream, &mut self.batch);
            if self.batch.len() >= BATCH {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.append(&self.batch);
        self.batch.clear();
        written
    }
}
