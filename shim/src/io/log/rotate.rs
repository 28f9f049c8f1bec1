//! A file that starts anew at a given size; the one before it is kept as `FILE.1`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Enough for the last record of each stream, unless one is silent for long.
const END: u64 = 64 << 10;

#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl Rotating {
    /// Opens for appending; `limit` 0 is no limit.
    pub fn open(path: PathBuf, limit: u64) -> io::Result<Rotating> {
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        Ok(Rotating { path, file, size, limit })
    }

    /// Appends whole records, in this file or the next.
    pub fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let length = records.len() as u64;
        if self.limit > 0 && self.size > 0 && self.size + length > self.limit {
            self.rotate()?;
        }
        self.file.write_all(records)?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        fs::rename(&self.path, old)?;
        self.file = append_to(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// The last records of a log, if it is there and a file.
pub fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let mut end = Vec::new();
    if metadata.is_file() {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(END)))?;
        file.take(END).read_to_end(&mut end)?;
    }
    Ok(end)
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_at_most() {
        let dir = std::env::temp_dir().join(format!("firn-shim-rotate-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let mut log = Rotating::open(path.clone(), 10).unwrap();
        for record in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n"] {
            log.append(record.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "eeee\n");
        assert_eq!(fs::read_to_string(dir.join("log.1")).unwrap(), "cccc\ndddd\n");
        // A later run goes on where this one ended.
        let mut log = Rotating::open(path.clone(), 10).unwrap();
        log.append(b"ffff\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "eeee\nffff\n");
        // A record larger than the limit has a file for itself.
        log.append(b"longer than ten\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "longer than ten\n");
        fs::remove_dir_all(&dir).unwrap();
    }
}
