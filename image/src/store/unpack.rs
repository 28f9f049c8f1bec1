//! The process that makes the files of a layer. The decoder, a process of its own, decompresses; a
//! thread here compares its bytes with the diff id and another one the blob with its digest, while
//! the files are written.

use super::parents;
use crate::layer::apply::Extraction;
use crate::layer::error::ApplyError;
use crate::layer::whiteout::Marks;
use crate::oci::blob::{BlobError, VerifyingReader, parse_digest};
use crate::oci::file_range::FileRange;
use crate::sandbox::decoder::Decoder;
use crate::sandbox::filter::{self, Role};
use crate::sandbox::privileges::{self, confine_to, keep_capabilities};
use crate::sandbox::process::chain;
use oci_spec::image::{Descriptor, Digest};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

/// Uncompressed bytes and entries of a layer at most. Far more than layers have; a bomb ends here
/// if the disk has not been full before.
const BYTE_LIMIT: u64 = 128 << 30;
const ENTRY_LIMIT: u64 = 10_000_000;
/// Bytes that pass between two threads at once, and how often before one waits for the other.
const CHUNK: usize = 128 << 10;
const QUEUE: usize = 16;

/// What is to be unpacked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// By which its bytes were asked for.
    pub(super) digest: String,
    /// What the blob is compared with. `None` where the diff id alone is known, and where the bytes are compared
    /// while they arrive.
    pub(super) blob: Option<Descriptor>,
    pub(super) diff_id: String,
    /// Where the blob lies in its file.
    pub(super) range: (u64, u64),
    /// Its file has not all of it yet.
    pub(super) is_growing: bool,
    pub(super) marks: Marks,
}

#[derive(Debug, thiserror::Error)]
enum UnpackError {
    #[error("read layer {digest}")]
    Read { digest: Digest, source: io::Error },
    #[error("unpack layer {digest}")]
    Apply { digest: Digest, source: ApplyError },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("start the process that unpacks layers")]
    Start(#[source] io::Error),
}

/// Unpacks a layer into the empty directory `top`. The list of its directories without an entry, or
/// what to tell the user.
pub(super) fn unpack(request: &Request, blob: &FileRange, top: &OwnedFd) -> Result<Vec<u8>, String> {
    try_unpack(request, blob, top).map_err(|error| chain(&error))
}

fn try_unpack(request: &Request, blob: &FileRange, top: &OwnedFd) -> Result<Vec<u8>, UnpackError> {
    let diff_id = parse_digest(&request.diff_id)?;
    let digest = parse_digest(&request.digest)?;
    let read = |source| UnpackError::Read { digest: digest.clone(), source };
    let decoder = Decoder::start(blob.clone(), BYTE_LIMIT).map_err(UnpackError::Start)?;
    lock_down(top).map_err(UnpackError::Start)?;
    let plain = VerifyingReader::of_digest(decoder, &diff_id)?;
    let blob = request.blob.as_ref().map(|descriptor| VerifyingReader::of_descriptor(blob.clone(), descriptor));
    let blob = blob.transpose()?;
    std::thread::scope(|scope| {
        let blob = scope.spawn(|| blob.map_or(Ok(()), VerifyingReader::finish).map(|()| Verified));
        let (chunks, received) = sync_channel(QUEUE);
        let (back, used) = sync_channel(QUEUE);
        let plain = scope.spawn(move || send_chunks(plain, &chunks, &used));
        let mut archive = Archive { received, back, chunk: Vec::new(), at: 0 };
        let applied = Extraction::new(top.as_fd(), ENTRY_LIMIT, request.marks).run(&mut archive);
        let rest = if applied.is_ok() { archive.drain() } else { Ok(()) };
        drop(archive);
        // A blob that is not the one that was asked for is the reason for all that follows from it.
        let (blob, plain) = (join(blob), join(plain));
        let Verified = blob.map_err(read)?;
        let implicit = applied.map_err(|source| UnpackError::Apply { digest: digest.clone(), source })?;
        rest.map_err(read)?;
        match plain.map_err(read)? {
            Some(Verified) => Ok(parents::list(&implicit)),
            None => Err(read(io::ErrorKind::UnexpectedEof.into())),
        }
    })
}

fn lock_down(top: &OwnedFd) -> io::Result<()> {
    // Files get their modes when they are made.
    rustix::process::umask(Mode::empty());
    confine_to(top)?;
    keep_capabilities(privileges::WRITER)?;
    filter::load(Role::Writer)
}

fn join<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// All bytes were read, and their digest is the right one.
struct Verified;

/// Sends what is read, until nobody receives any more, or after an error, which is sent as the last:
/// then nothing is verified. Errors: the digest is wrong.
fn send_chunks(
    mut plain: VerifyingReader<Decoder>,
    chunks: &SyncSender<io::Result<Vec<u8>>>,
    used: &Receiver<Vec<u8>>,
) -> io::Result<Option<Verified>> {
    loop {
        let mut chunk = used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        match fill(&mut plain, &mut chunk) {
            Ok(0) => return plain.finish().map(|()| Some(Verified)),
            Ok(count) => chunk.truncate(count),
            Err(error) => {
                let _ = chunks.send(Err(error));
                return Ok(None);
            }
        }
        if chunks.send(Ok(chunk)).is_err() {
            return Ok(None);
        }
    }
}

/// Fewer bytes at the end only, so that threads wait for each other seldom.
fn fill(reader: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match reader.read(&mut chunk[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// The bytes that come from the other thread.
struct Archive {
    received: Receiver<io::Result<Vec<u8>>>,
    back: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Archive {
    /// Goes to the next chunk. False at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let used = std::mem::take(&mut self.chunk);
        self.at = 0;
        if used.capacity() > 0 {
            let _ = self.back.try_send(used);
        }
        match self.received.recv() {
            Ok(chunk) => {
                self.chunk = chunk?;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// What follows the end marker counts for the digests alone.
    fn drain(&mut self) -> io::Result<()> {
        while self.advance()? {}
        Ok(())
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
