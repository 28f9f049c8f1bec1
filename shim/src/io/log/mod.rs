//! The log of a container's output, by one or more drivers. Those of files append to what earlier runs
//! have written.

mod journald;
mod json_file;
mod k8s_file;
mod record;
mod rotate;
mod tail;

pub(crate) use rotate::Limits;

use crate::stream::Stream;
use firn::error::{Context, Result};
use firn::state::rfc3339;
use journald::Journal;
use record::{Record, Records};
use rotate::RotatedFile;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tail::Tail;

/// Bytes of records after which they are written: one write(2) for many short lines.
const BATCH: usize = 16 << 10;

/// Where output is logged; option `--log-driver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum DriverName {
    /// A file in the format of the CRI
    K8sFile,
    /// A file in the format of Docker
    JsonFile,
    /// The journal of systemd
    Journald,
    /// Nowhere
    None,
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    K8s,
    Json,
}

/// A file, and records that are not written yet.
#[derive(Debug)]
struct LogFile {
    format: Format,
    file: RotatedFile,
    batch: Vec<u8>,
}

/// The drivers of a container, and the last lines that were logged.
#[derive(Debug)]
pub(crate) struct Log {
    files: Vec<LogFile>,
    journal: Option<Journal>,
    /// Whether a stream's last record is a part of a line that is not ended; indexed by [`Stream`].
    unended: [bool; 2],
    pub(crate) tail: Tail,
}

/// How far a log has been written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Inode and length of each file.
    files: Vec<(u64, u64)>,
    /// Whether a stream's last record is a part of a line that is not ended.
    unended: [bool; 2],
}

/// How a container is logged.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogSettings {
    pub(crate) drivers: Vec<DriverName>,
    /// The file of the first driver that writes one; `None`: `log` in the state directory.
    pub(crate) path: Option<PathBuf>,
    pub(crate) limits: Limits,
}

impl LogSettings {
    /// The files of the drivers, in their order. A second one has `.json` or `.k8s` after its name.
    fn files(&self, default: &Path) -> Vec<(Format, PathBuf)> {
        let path = self.path.as_deref().unwrap_or(default);
        let mut files: Vec<(Format, PathBuf)> = Vec::new();
        for driver in &self.drivers {
            let (format, suffix) = match driver {
                DriverName::K8sFile => (Format::K8s, ".k8s"),
                DriverName::JsonFile => (Format::Json, ".json"),
                DriverName::Journald | DriverName::None => continue,
            };
            let mut name = path.as_os_str().to_owned();
            if !files.is_empty() {
                name.push(suffix);
            }
            if files.iter().all(|(other, _)| *other != format) {
                files.push((format, name.into()));
            }
        }
        files
    }

    /// The file to which output goes, if any does.
    pub(crate) fn first_file(&self, default: &Path) -> Option<PathBuf> {
        self.files(default).into_iter().next().map(|(_, path)| path)
    }
}

impl Log {
    /// Opens the log of container `id`, and ends lines that a monitor has left, which our first ones are
    /// no part of. `default`: the file where none is named.
    pub(crate) fn open(settings: &LogSettings, default: &Path, id: &str) -> Result<Log> {
        let mut log = Log::open_as_it_is(settings, default, id)?;
        for stream in [Stream::Stdout, Stream::Stderr] {
            log.end_stream(stream).doing(|| "write the log")?;
        }
        Ok(log)
    }

    /// Opens the log to go on with it.
    pub(crate) fn open_as_it_is(settings: &LogSettings, default: &Path, id: &str) -> Result<Log> {
        let mut log = Log { files: Vec::new(), journal: None, unended: [false; 2], tail: Tail::default() };
        for (format, path) in settings.files(default) {
            let operation = || format!("open {}", path.display());
            let end = rotate::read_end(&path).doing(operation)?;
            let mut batch = Vec::new();
            if end.last().is_some_and(|byte| *byte != b'\n') {
                batch.push(b'\n');
            }
            if format == Format::K8s {
                log.unended = k8s_file::find_unended(&end);
            }
            let file = RotatedFile::open(path.clone(), settings.limits).doing(operation)?;
            log.files.push(LogFile { format, file, batch });
        }
        if settings.drivers.contains(&DriverName::Journald) {
            log.journal = Some(Journal::open(journald::SOCKET.as_ref(), id).doing(|| "--log-driver journald")?);
        }
        Ok(log)
    }

    /// How far it is written.
    pub(crate) fn position(&self) -> Position {
        Position { files: self.files.iter().map(|file| file.file.position()).collect(), unended: self.unended }
    }

    /// Goes back to a position: what was written since is cut off. Not of the journal, and not of a file
    /// that another program has moved meanwhile.
    pub(crate) fn rewind(&mut self, to: &Position) -> io::Result<()> {
        let mut rewound = Ok(());
        if self.files.len() == to.files.len() && self.position() != *to {
            for (LogFile { file, batch, .. }, &(inode, size)) in self.files.iter_mut().zip(&to.files) {
                batch.clear();
                rewound = rewound.and(file.rewind(inode, size));
            }
            self.unended = to.unended;
        }
        rewound
    }

    /// Opens the files anew by their names, after another program has moved them.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.files.iter_mut().try_for_each(|file| file.file.reopen())
    }

    /// Ends the stream's last line, where it has no newline.
    pub(crate) fn end_stream(&mut self, stream: Stream) -> io::Result<()> {
        let mut written = Ok(());
        if std::mem::take(&mut self.unended[stream as usize]) {
            let stamp = rfc3339(SystemTime::now());
            written = self.add(&Record { text: b"", full: true }, &stamp, stream);
        }
        written.and(self.flush())
    }

    /// Writes a chunk of output. A line without its newline is written as a part and not kept, so that
    /// memory has a bound. With several drivers the others go on where one fails, whose error is
    /// returned.
    pub(crate) fn write(&mut self, stream: Stream, chunk: &[u8]) -> io::Result<()> {
        self.tail.push(chunk);
        let stamp = rfc3339(SystemTime::now());
        let mut written = Ok(());
        for record in Records::new(chunk) {
            self.unended[stream as usize] = !record.full;
            written = written.and(self.add(&record, &stamp, stream));
        }
        written.and(self.flush())
    }

    fn add(&mut self, record: &Record<'_>, stamp: &str, stream: Stream) -> io::Result<()> {
        let mut written = Ok(());
        for LogFile { format, batch, file } in &mut self.files {
            match format {
                Format::K8s => k8s_file::format(record, stamp, stream, batch),
                Format::Json => json_file::format(record, stamp, stream, batch),
            }
            if batch.len() >= BATCH {
                written = written.and(flush(file, batch));
            }
        }
        if let Some(journal) = &mut self.journal {
            written = written.and(journal.send(record, stream));
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut written = Ok(());
        for LogFile { file, batch, .. } in &mut self.files {
            written = written.and(flush(file, batch));
        }
        written
    }
}

fn flush(file: &mut RotatedFile, batch: &mut Vec<u8>) -> io::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let written = file.append(batch);
    batch.clear();
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_has_a_file_of_its_own() {
        use DriverName::{Journald, JsonFile, K8sFile};
        let names = |drivers: &[DriverName], path: Option<&str>| -> Vec<String> {
            let limits = Limits { size: 0, files: 1 };
            let settings = LogSettings { drivers: drivers.to_vec(), path: path.map(PathBuf::from), limits };
            let files = settings.files(Path::new("/state/log"));
            files.into_iter().map(|(format, path)| format!("{format:?} {}", path.display())).collect()
        };
        assert_eq!(names(&[K8sFile], None), ["K8s /state/log"]);
        assert_eq!(names(&[Journald, JsonFile], Some("/x")), ["Json /x"]);
        assert_eq!(names(&[JsonFile, K8sFile, JsonFile], Some("/x")), ["Json /x", "K8s /x.k8s"]);
        assert!(names(&[Journald, DriverName::None], None).is_empty());
    }
}
