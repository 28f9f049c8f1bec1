//! A file that is replaced by a new one at a given size; old ones are kept as `FILE.1`, `FILE.2` …

use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes at the end of a log in which the last record of each stream is looked for.
const END: u64 = 64 << 10;

/// When a file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// In bytes; 0 means never.
    pub(crate) size: u64,
    /// The number of old files that are kept.
    pub(crate) files: u32,
}

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    file: File,
    inode: u64,
    size: u64,
    limits: Limits,
}

impl RotatedFile {
    /// Opens the file for appending, or makes it with mode 0600.
    pub(super) fn open(path: PathBuf, limits: Limits) -> io::Result<RotatedFile> {
        let file = open_append(&path)?;
        let metadata = file.metadata()?;
        Ok(RotatedFile { path, file, inode: metadata.ino(), size: metadata.len(), limits })
    }

    /// Appends whole records, which end with a newline each; to a new file, where the limit would be
    /// passed. One that is longer than the limit has a file for itself.
    pub(super) fn append(&mut self, mut records: &[u8]) -> io::Result<()> {
        loop {
            let now = self.whole_records_that_fit(records);
            self.file.write_all(&records[..now])?;
            self.size += now as u64;
            records = &records[now..];
            if records.is_empty() {
                return Ok(());
            }
            self.rotate()?;
        }
    }

    /// The length of those at the begin of `records` for which the file has room.
    fn whole_records_that_fit(&self, records: &[u8]) -> usize {
        let room = match self.limits.size {
            0 => records.len(),
            limit => usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX),
        };
        if records.len() <= room {
            return records.len();
        }
        let is_end = |byte: &u8| *byte == b'\n';
        match records[..room].iter().rposition(is_end) {
            Some(end) => end + 1,
            None if self.size > 0 => 0,
            None => records.iter().position(is_end).map_or(records.len(), |end| end + 1),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..=self.limits.files).rev() {
            let from = if number == 1 { self.path.clone() } else { self.old(number - 1) };
            match fs::rename(from, self.old(number)) {
                // There are fewer yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        if self.limits.files == 0 {
            fs::remove_file(&self.path)?;
        }
        self.reopen()
    }

    /// Opens the file anew by its name.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = open_append(&self.path)?;
        let metadata = self.file.metadata()?;
        self.inode = metadata.ino();
        self.size = metadata.len();
        Ok(())
    }

    /// Inode and length of the file.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.inode, self.size)
    }

    /// Cuts off what was written after a position, also where the file was moved for a new one since.
    pub(super) fn rewind(&mut self, inode: u64, size: u64) -> io::Result<()> {
        if self.inode != inode {
            let is_it = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode);
            let Some(number) = (1..=self.limits.files).find(|number| is_it(&self.old(*number))) else {
                return Ok(());
            };
            // Newer ones hold what was written since, and nothing else.
            for newer in 1..number {
                fs::remove_file(self.old(newer))?;
            }
            fs::rename(self.old(number), &self.path)?;
            self.reopen()?;
        }
        if self.file.metadata()?.is_file() && self.size > size {
            self.file.set_len(size)?;
            self.size = size;
        }
        Ok(())
    }

    /// The path of an old file.
    fn old(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
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
    fn so_many_files_and_no_more() {
        let dir = std::env::temp_dir().join(format!("firn-shim-rotate-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let mut log = RotatedFile::open(path.clone(), Limits { size: 10, files: 1 }).unwrap();
        for record in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n"] {
            log.append(record.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "eeee\n");
        assert_eq!(fs::read_to_string(dir.join("log.1")).unwrap(), "cccc\ndddd\n");
        // A later run goes on where this one ended.
        let mut log = RotatedFile::open(path.clone(), Limits { size: 10, files: 1 }).unwrap();
        log.append(b"ffff\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "eeee\nffff\n");
        // A record larger than the limit has a file for itself.
        log.append(b"longer than ten\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "longer than ten\n");
        // Many records at once.
        log.append(b"1\n2\n3\n4\n5\n6\n7\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "6\n7\n");
        assert_eq!(fs::read_to_string(dir.join("log.1")).unwrap(), "1\n2\n3\n4\n5\n");
        // More old files, and none.
        let mut log = RotatedFile::open(path.clone(), Limits { size: 5, files: 3 }).unwrap();
        for record in ["1111\n", "2222\n", "3333\n", "4444\n", "5555\n"] {
            log.append(record.as_bytes()).unwrap();
        }
        let old = |number: u32| fs::read_to_string(dir.join(format!("log.{number}"))).unwrap_or_default();
        assert_eq!([old(1), old(2), old(3), old(4)], ["4444\n", "3333\n", "2222\n", ""]);
        let mut log = RotatedFile::open(path.clone(), Limits { size: 5, files: 0 }).unwrap();
        log.append(b"6666\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap(), old(1)), ("6666\n".into(), "4444\n".into()));
        // Cut back to a position from before some files were moved for new ones.
        let mut log = RotatedFile::open(path.clone(), Limits { size: 5, files: 3 }).unwrap();
        let (inode, size) = log.position();
        log.append(b"7777\n8888\n9999\n").unwrap();
        log.rewind(inode, size).unwrap();
        assert_eq!([fs::read_to_string(&path).unwrap(), old(1), old(2)], ["6666\n", "", ""]);
        log.append(b"7777\n8888\n").unwrap();
        assert_eq!([fs::read_to_string(&path).unwrap(), old(1), old(2)], ["8888\n", "7777\n", "6666\n"]);
        log.rewind(0, 0).unwrap();
        fs::write(&path, "6666\n").unwrap();
        fs::write(dir.join("log.1"), "4444\n").unwrap();
        let mut log = RotatedFile::open(path.clone(), Limits { size: 5, files: 0 }).unwrap();
        // Moved by another program.
        fs::rename(&path, dir.join("moved")).unwrap();
        log.reopen().unwrap();
        log.append(b"7777\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7777\n");
        fs::remove_dir_all(&dir).unwrap();
    }
}
