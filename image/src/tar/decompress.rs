//! Decompression of a layer's blob, by what its first bytes say: media types are often wrong in
//! old images.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame of zstd, but for the low half of the first byte.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Bytes of a decoder's window at most, as `zstd -d` allows: 2^27.
const WINDOW_LOG: u32 = 27;
const BUFFER: usize = 128 << 10;

/// Bytes more than a layer may have.
#[derive(Debug, thiserror::Error)]
#[error("it has more than {0} uncompressed bytes: too large for a layer")]
struct TooLarge(u64);

/// The uncompressed bytes of `blob`: gzip, zstd or none; of several members or frames, all. Reading
/// more than `limit` is an error.
pub(crate) fn decompress<'a>(blob: impl Read + 'a, limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    let mut blob = BufReader::with_capacity(BUFFER, blob);
    let start = blob.fill_buf()?;
    let skippable =
        start.first().is_some_and(|byte| byte & 0xf0 == SKIPPABLE[0]) && start.get(1..4) == Some(&SKIPPABLE[1..]);
    let plain: Box<dyn Read + 'a> = if start.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(blob))
    } else if start.starts_with(&ZSTD) || skippable {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(blob)
    };
    Ok(Box::new(Limited { plain, left: limit, limit }))
}

struct Limited<R> {
    plain: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, TooLarge(self.limit)))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    }

    fn read(blob: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        decompress(blob, limit)?.read_to_end(&mut read)?;
        Ok(read)
    }

    #[test]
    fn a_layer_is_known_by_its_first_bytes() {
        let text = b"hello".repeat(1000);
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        let skipped = [b"\x5e\x2a\x4d\x18\x02\0\0\0xx", &zstd[..]].concat();
        for blob in [&text, &gzip(&text), &zstd, &skipped] {
            assert_eq!(read(blob, 5000).unwrap(), text);
        }
        assert_eq!(read(b"", 0).unwrap(), b"");
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let frame = |text: &[u8]| zstd::encode_all(text, 3).unwrap();
        for blob in [[gzip(b"ab"), gzip(b"c")].concat(), [frame(b"ab"), frame(b"c")].concat()] {
            assert_eq!(read(&blob, 3).unwrap(), b"abc");
        }
    }

    #[test]
    fn truncated_and_corrupt_blobs_are_errors() {
        let text: Vec<u8> = (0..5000_u32).map(|number| ((number * number) >> 3) as u8).collect();
        for blob in [gzip(&text), zstd::stream::encode_all(&text[..], 3).unwrap()] {
            for cut in [3, 20, 1000] {
                assert!(read(&blob[..blob.len() - cut], 1 << 20).is_err());
            }
        }
        let mut blob = gzip(&text);
        let at = blob.len() - 6;
        blob[at] ^= 1;
        assert!(read(&blob, 1 << 20).is_err());
    }

    #[test]
    fn a_bomb_is_an_error() {
        let zeros = vec![0; 1 << 20];
        for blob in [gzip(&zeros), zstd::encode_all(&zeros[..], 3).unwrap(), zeros.clone()] {
            let error = read(&blob, (1 << 20) - 1).unwrap_err();
            assert!(error.to_string().contains("too large"), "{error}");
        }
    }
}
