//! Bytes of a file from here to there: a blob of a layout, a member of an archive, or a blob that is
//! still being written.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Read by their place in the file, so that several threads and processes can read the same one.
#[derive(Debug, Clone)]
pub(crate) struct FileRange {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// A pipe that gets a byte when the file has grown, and ends when it grows no more.
    growth: Option<Arc<OwnedFd>>,
}

impl FileRange {
    pub(crate) fn new(file: Arc<File>, at: u64, end: u64) -> Self {
        Self { file, at, end, growth: None }
    }

    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self::new(Arc::new(file), 0, end))
    }

    /// Of a file that a [`GrowingFile`] writes, perhaps in another process.
    pub(crate) fn growing(self, growth: OwnedFd) -> Self {
        Self { growth: Some(Arc::new(growth)), ..self }
    }

    /// What is left of it.
    pub(crate) fn offsets(&self) -> (u64, u64) {
        (self.at, self.end)
    }

    /// What another process needs to read it: the file, and the pipe of one that grows.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(self.file.as_fd()).chain(self.growth.as_ref().map(AsFd::as_fd)).collect()
    }

    /// Waits until the file has grown.
    fn wait(&mut self, growth: &OwnedFd) -> io::Result<()> {
        let mut ticks = [0; 512];
        if rustix::io::retry_on_intr(|| rustix::io::read(growth, &mut ticks[..]))? == 0 {
            self.growth = None;
        }
        Ok(())
    }
}

impl Read for FileRange {
    /// Errors: `UnexpectedEof` if the file ends before the range does.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        loop {
            let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
            match self.growth.clone() {
                Some(growth) if count == 0 && wanted > 0 => self.wait(&growth)?,
                None if count == 0 && wanted > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {
                    self.at += count as u64;
                    return Ok(count);
                }
            }
        }
    }
}

/// A new file that may be read while it is written.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    file: File,
    /// The other end of a reader's pipe.
    growth: Option<OwnedFd>,
}

impl GrowingFile {
    /// Errors: there is one at `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create_new(path)?, growth: None })
    }

    /// Its first `size` bytes, for one reader (and copies of it), which waits for those that are not
    /// written yet. Errors: it is not at `path` any more.
    pub(crate) fn reader(&mut self, path: &Path, size: u64) -> io::Result<FileRange> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let (growth, teller) = pipe_with(PipeFlags::CLOEXEC)?;
        // A full pipe says all that is to be said.
        fcntl_setfl(&teller, OFlags::NONBLOCK)?;
        self.growth = Some(teller);
        Ok(FileRange::new(Arc::new(file.into()), 0, size).growing(growth))
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if let Some(growth) = &self.growth {
            // The reader may have ended.
            let _ = rustix::io::write(growth, &[0]);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Reads `size` bytes of a file that gets 100,000 meanwhile.
    fn read_growing(name: &str, size: u64) -> (Result<usize, io::ErrorKind>, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("firn-{name}-{}", std::process::id()));
        let mut file = GrowingFile::create(&path).unwrap();
        let mut reader = file.reader(&path, size).unwrap();
        let read = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            (reader.read_to_end(&mut bytes).map_err(|error| error.kind()), bytes)
        });
        for number in 0..100 {
            file.write_all(&[number; 1000]).unwrap();
            std::thread::sleep(Duration::from_micros(100));
        }
        drop(file);
        std::fs::remove_file(&path).unwrap();
        read.join().unwrap()
    }

    #[test]
    fn bytes_are_read_while_they_are_written() {
        let expected: Vec<u8> = (0..100).flat_map(|number| [number; 1000]).collect();
        assert_eq!(read_growing("growing", 100_000), (Ok(100_000), expected.clone()));
        assert_eq!(read_growing("short", 100_001), (Err(io::ErrorKind::UnexpectedEof), expected));
    }
}
