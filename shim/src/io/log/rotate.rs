//! A file that is replaced by a new one at a given size; the old one is kept as `FILE.1`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes at the end of a log in which the last record of each stream is looked for.
const END: u64 = 64 << 10;

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl RotatedFile {
    /// Opens the file for appending, or makes it with mode 0600. `limit` in bytes; 0 means none.
    pub(super) fn open(path: PathBuf, limit: u64) -> io::Result<RotatedFile> {
        let file = open_append(&path)?;
        let size = file.metadata()?.len();
        Ok(RotatedFile { path, file, size, limit })
    }

    /// Appends whole records; to a new file, where the limit would be passed.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
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
        self.file = open_append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// The last 64 KiB of a log; nothing if it is absent or no regular file.
pub(super) fn read_end(path: &Path) -> io::Result<Vec<u8>> {
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

fn open_append(path: &PathBuf) -> io::Result<File> {
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
        let mut log = RotatedFile::open(path.clone(), 10).unwrap();
        for record in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n"] {
            log.append(record.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "eeee\n");
        assert_eq!(fs::read_to_string(dir.join("log.1")).unwrap(), "cccc\ndddd\n");
        // A later run goes on where this one ended.
        let mut log = RotatedFile::open(path.clone(), 10).unwrap();
        log.append(b"ffff\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "eeee\nffff\n");
        // A record larger than the limit has a file for itself.
        log.append(b"longer than ten\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "longer than ten\n");
        fs::remove_dir_all(&dir).unwrap();
    }
}
