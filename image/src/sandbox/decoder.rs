//! The process that decompresses a blob.

use super::filter::{self, Role};
use super::privileges::keep_capabilities;
use super::process::{Child, chain, write_all};
use crate::oci::file_range::FileRange;
use crate::tar::decompress::decompress;
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::{self, Read};

/// Bytes of the pipe: as many as an ordinary user may have (/proc/sys/fs/pipe-max-size).
const PIPE: usize = 1 << 20;
const BUFFER: usize = 128 << 10;

/// The uncompressed bytes of a blob, from another process.
#[derive(Debug)]
pub(crate) struct Decoder {
    plain: File,
    /// Where it says how it ended: [`DONE`], or an error's text.
    status: File,
    child: Child,
    /// It has said that all is well.
    is_done: bool,
}

const DONE: &[u8] = b"\0";

impl Decoder {
    /// Starts to decompress a blob (see [`decompress`]). Errors: as [`crate::sys::fork`].
    pub(crate) fn start(blob: FileRange, limit: u64) -> io::Result<Self> {
        let (plain, output) = pipe_with(PipeFlags::CLOEXEC)?;
        // A smaller one is slower.
        let _ = fcntl_setpipe_size(&output, PIPE);
        let (status, report) = pipe_with(PipeFlags::CLOEXEC)?;
        let kept = [&blob.descriptors()[..], &[output.as_fd(), report.as_fd()]].concat();
        let child = Child::start(&kept, || decode(blob.clone(), &output, &report, limit))?;
        Ok(Self { plain: plain.into(), status: status.into(), child, is_done: false })
    }

    fn end(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        self.status.read_to_end(&mut text)?;
        let signal = self.child.wait()?;
        match &text[..] {
            DONE => {
                self.is_done = true;
                Ok(())
            }
            b"" => {
                let how = signal.map_or("it ended early".into(), |signal| format!("signal {signal}"));
                Err(io::Error::other(format!("the process that decompresses was stopped: {how}")))
            }
            text => Err(io::Error::new(io::ErrorKind::InvalidData, String::from_utf8_lossy(text).into_owned())),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.plain.read(buffer)? {
            0 if !buffer.is_empty() && !self.is_done => self.end().map(|()| 0),
            count => Ok(count),
        }
    }
}

/// The work of the process.
fn decode(blob: FileRange, output: &OwnedFd, report: &OwnedFd, limit: u64) -> u8 {
    let decode = || -> io::Result<()> {
        keep_capabilities(CapabilitySet::empty())?;
        let mut buffer = vec![0; BUFFER];
        filter::load(Role::Decoder)?;
        let mut plain = decompress(blob, limit)?;
        loop {
            match plain.read(&mut buffer)? {
                0 => return Ok(()),
                count => write_all(output, &buffer[..count])?,
            }
        }
    };
    let (text, status) = match decode() {
        Ok(()) => (DONE.to_vec(), 0),
        Err(error) => (chain(&error).into_bytes(), 1),
    };
    write_all(report, &text).map_or(1, |()| status)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of the tests has several threads, of which a child could find locks held.
    #[test]
    fn only_a_process_with_one_thread_forks() {
        let other = std::thread::spawn(std::thread::park);
        let blob = FileRange::whole(File::open("/proc/self/status").unwrap()).unwrap();
        let error = Decoder::start(blob, 1).map(drop).unwrap_err();
        assert!(error.to_string().contains("several threads"), "{error}");
        other.thread().unpark();
        other.join().unwrap();
    }
}
