//! Digests and sizes of bytes, computed while they are written or read.

use oci_spec::image::{Digest, Sha256Digest};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use std::str::FromStr;

/// Passes bytes on, and hashes them.
#[derive(Debug)]
pub(crate) struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    /// The inner writer, and the digest and number of the bytes that it got.
    pub(crate) fn finish(self) -> io::Result<(W, Digest, u64)> {
        Ok((self.inner, to_digest(self.hasher)?, self.size))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digest of bytes.
pub(crate) fn digest_of(mut bytes: impl Read) -> io::Result<(Digest, u64)> {
    let mut writer = HashingWriter::new(io::sink());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => writer.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (_, digest, size) = writer.finish()?;
    Ok((digest, size))
}

fn to_digest(hasher: Sha256) -> io::Result<Digest> {
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Sha256Digest::from_str(&hex).map_err(io::Error::other)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_bytes_have_the_same_digest() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"hel").unwrap();
        writer.write_all(b"lo").unwrap();
        let (bytes, digest, size) = writer.finish().unwrap();
        assert_eq!((&bytes[..], size), (&b"hello"[..], 5));
        assert_eq!(digest.to_string(), "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(digest_of(&b"hello"[..]).unwrap(), (digest, 5));
    }
}
