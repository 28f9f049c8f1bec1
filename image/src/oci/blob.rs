//! Blobs: bytes that are known by their digest (image-spec, "descriptor.md").

use oci_spec::image::{Descriptor, Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256, Sha512};
use std::io::{self, Read};
use std::str::FromStr;

/// Why bytes are not those of a descriptor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("digest {0:?}: give sha256:HEX or sha512:HEX")]
    Malformed(String),
    #[error("digest {0}: only sha256 and sha512 are supported")]
    Algorithm(Digest),
    #[error("blob {expected}: its digest is {actual}: it is corrupt, get it again")]
    Mismatch { expected: Digest, actual: Digest },
    #[error("blob {digest}: its size is {actual}, and not {expected}: it is corrupt, get it again")]
    Size { digest: Digest, expected: u64, actual: u64 },
}

/// A hash function that is fed as bytes pass.
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Parses a digest of an algorithm that can be verified.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, BlobError> {
    let digest = Digest::from_str(text).map_err(|_| BlobError::Malformed(text.into()))?;
    Hasher::new(&digest)?;
    Ok(digest)
}

impl Hasher {
    fn new(digest: &Digest) -> Result<Self, BlobError> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Ok(Self::Sha256(Sha256::new())),
            DigestAlgorithm::Sha512 => Ok(Self::Sha512(Sha512::new())),
            _ => Err(BlobError::Algorithm(digest.clone())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn hex(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Sha512(hasher) => hex(&hasher.finalize()),
        }
    }
}

/// Passes bytes on and hashes them. What was read is trusted when [`VerifyingReader::finish`] has
/// returned.
pub(crate) struct VerifyingReader<R> {
    inner: R,
    hasher: Hasher,
    expected: Digest,
    /// `None` if only the digest is known.
    size: Option<u64>,
    count: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// For the bytes of a descriptor: its digest and its size.
    pub(crate) fn of_descriptor(inner: R, descriptor: &Descriptor) -> Result<Self, BlobError> {
        Ok(Self { size: Some(descriptor.size()), ..Self::of_digest(inner, descriptor.digest())? })
    }

    /// For bytes of unknown size.
    pub(crate) fn of_digest(inner: R, digest: &Digest) -> Result<Self, BlobError> {
        Ok(Self { inner, hasher: Hasher::new(digest)?, expected: digest.clone(), size: None, count: 0 })
    }

    /// Reads what is left, and compares. Errors: as the inner reader; `InvalidData` with a
    /// [`BlobError`].
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let mut rest = [0; 64 << 10];
        while self.read(&mut rest)? > 0 {}
        let error = |error: BlobError| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some(expected) = self.size.filter(|size| *size != self.count) {
            return Err(error(BlobError::Size { digest: self.expected, expected, actual: self.count }));
        }
        let actual = format!("{}:{}", self.expected.algorithm(), self.hasher.hex());
        if actual == self.expected.to_string() {
            return Ok(());
        }
        let actual = Digest::from_str(&actual).map_err(io::Error::other)?;
        Err(error(BlobError::Mismatch { expected: self.expected, actual }))
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        // A descriptor's size is a limit: what comes after it need not be read to be refused.
        if let Some(expected) = self.size.filter(|size| self.count > *size) {
            let error = BlobError::Size { digest: self.expected.clone(), expected, actual: self.count };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::MediaType;

    /// Of "hello".
    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn read(bytes: &[u8], digest: &str, size: u64) -> io::Result<()> {
        let descriptor = Descriptor::new(MediaType::ImageConfig, size, parse_digest(digest).unwrap());
        VerifyingReader::of_descriptor(bytes, &descriptor).unwrap().finish()
    }

    #[test]
    fn only_the_bytes_of_a_descriptor_pass() {
        read(b"hello", HELLO, 5).unwrap();
        let other = HELLO.replace("2cf2", "2cf3");
        for (bytes, digest, size) in
            [(&b"hello"[..], HELLO, 4), (b"hell", HELLO, 5), (b"hellO", HELLO, 5), (b"hello", &other, 5)]
        {
            assert_eq!(read(bytes, digest, size).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn what_can_not_be_verified_is_no_digest() {
        for text in ["", "sha256", "sha256:", "sha256:zz", "md5:00", "sha256:../../etc", "sha512:00"] {
            assert!(parse_digest(text).is_err(), "{text}");
        }
    }
}
