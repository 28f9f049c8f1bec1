//! Writes tar archives: ustar headers, and PAX headers (pax(1)) only for what ustar has no room for.
//! The same entries give the same bytes: there are no names of users and groups, no times of access,
//! and nothing of the writing process in a header.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Bytes of ustar's fields for a name and for the directories before it.
const NAME_FIELD: usize = 100;
const PREFIX_FIELD: usize = 155;
/// The greatest numbers of ustar's fields: seven and eleven octal digits.
const ID_LIMIT: u64 = 0o777_7777;
const SIZE_LIMIT: u64 = 0o777_7777_7777;

/// An entry. Names and link targets are bytes, as in the kernel.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// Without a slash at either end; empty for the root.
    pub(crate) path: &'a [u8],
    pub(crate) kind: Kind<'a>,
    /// Permission bits, and setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Sorted by name.
    pub(crate) xattrs: &'a [Xattr],
}

/// An extended attribute: its name and its value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Directory,
    /// With this many bytes.
    File {
        size: u64,
    },
    /// To an entry before it, by its path.
    HardLink {
        target: &'a [u8],
    },
    Symlink {
        target: &'a [u8],
    },
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

impl Kind<'_> {
    fn type_flag(self) -> u8 {
        match self {
            Self::File { .. } => b'0',
            Self::HardLink { .. } => b'1',
            Self::Symlink { .. } => b'2',
            Self::CharacterDevice { .. } => b'3',
            Self::BlockDevice { .. } => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// An archive that is being written.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, buffer: vec![0; 128 << 10] }
    }

    /// Writes an entry without data.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.write_header(entry, 0)
    }

    /// Writes a regular file and its `size` bytes. Errors: the source has fewer (`UnexpectedEof`).
    pub(crate) fn append_file(&mut self, entry: &Entry<'_>, size: u64, mut data: impl Read) -> io::Result<()> {
        self.write_header(&Entry { kind: Kind::File { size }, ..entry.clone() }, size)?;
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match data.read(&mut self.buffer[..length]) {
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            self.inner.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        self.pad(size)
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn write_header(&mut self, entry: &Entry<'_>, size: u64) -> io::Result<()> {
        let mut header = Header::new(entry.kind.type_flag());
        let mut records = Records::default();
        let path = shown_path(entry);
        if !header.set_path(&path) {
            records.add(b"path", &path)?;
        }
        if let Kind::HardLink { target } | Kind::Symlink { target } = entry.kind
            && !header.set_text(157, NAME_FIELD, target)
        {
            records.add(b"linkpath", target)?;
        }
        header.set_octal(100, 8, u64::from(entry.mode & 0o7777));
        for (at, key, id) in [(108, "uid", entry.uid), (116, "gid", entry.gid)] {
            header.set_number(at, 8, ID_LIMIT, key, u64::from(id), &mut records)?;
        }
        header.set_number(124, 12, SIZE_LIMIT, "size", size, &mut records)?;
        header.set_time(entry.mtime, &mut records)?;
        if let Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind {
            header.set_octal(329, 8, u64::from(major));
            header.set_octal(337, 8, u64::from(minor));
        }
        for (name, value) in entry.xattrs {
            records.add(&[b"SCHILY.xattr.", &name[..]].concat(), value)?;
        }
        self.write_records(&records.0)?;
        self.inner.write_all(&header.finish())
    }

    /// The PAX header of the entry that follows, if it needs one.
    fn write_records(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new(b'x');
        header.set_text(0, NAME_FIELD, b"PaxHeaders/entry");
        header.set_octal(100, 8, 0o644);
        for at in [108, 116] {
            header.set_octal(at, 8, 0);
        }
        header.set_octal(124, 12, records.len() as u64);
        header.set_octal(136, 12, 0);
        self.inner.write_all(&header.finish())?;
        self.inner.write_all(records)?;
        self.pad(records.len() as u64)
    }

    /// Fills the last block of data.
    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.inner.write_all(&[0; BLOCK][rest..]) }
    }
}

/// A directory's name ends in a slash: some readers know directories by that alone.
fn shown_path(entry: &Entry<'_>) -> Vec<u8> {
    match entry.kind {
        Kind::Directory if entry.path.is_empty() => b"./".to_vec(),
        Kind::Directory => [entry.path, b"/"].concat(),
        _ => entry.path.to_vec(),
    }
}

/// A block with the fields of ustar.
struct Header([u8; BLOCK]);

impl Header {
    fn new(type_flag: u8) -> Self {
        let mut block = [0; BLOCK];
        block[156] = type_flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self(block)
    }

    /// The bytes of a field, if there is room for all of them.
    fn set_text(&mut self, at: usize, length: usize, text: &[u8]) -> bool {
        let fits = text.len() <= length;
        let shown = &text[..text.len().min(length)];
        self.0[at..at + shown.len()].copy_from_slice(shown);
        fits
    }

    /// The path, split at a slash if the name's field is too short. Whether there was room; if not,
    /// the field has its beginning, for readers that don't know PAX.
    fn set_path(&mut self, path: &[u8]) -> bool {
        if path.len() <= NAME_FIELD {
            return self.set_text(0, NAME_FIELD, path);
        }
        // The rest must not be empty: a directory's last slash is no place to split.
        let slashes = (1..path.len() - 1).filter(|&at| path[at] == b'/');
        let split = slashes.filter(|&at| at <= PREFIX_FIELD).find(|&at| path.len() - at - 1 <= NAME_FIELD);
        match split {
            Some(at) => self.set_text(345, PREFIX_FIELD, &path[..at]) && self.set_text(0, NAME_FIELD, &path[at + 1..]),
            None => self.set_text(0, NAME_FIELD, path),
        }
    }

    /// Octal digits and a NUL byte.
    fn set_octal(&mut self, at: usize, length: usize, number: u64) {
        let digits = format!("{number:0width$o}", width = length - 1);
        self.0[at..at + digits.len()].copy_from_slice(digits.as_bytes());
    }

    /// A number; 0 and a record where it is over the limit.
    fn set_number(
        &mut self,
        at: usize,
        length: usize,
        limit: u64,
        key: &str,
        number: u64,
        records: &mut Records,
    ) -> io::Result<()> {
        let fits = number <= limit;
        self.set_octal(at, length, if fits { number } else { 0 });
        if fits { Ok(()) } else { records.add(key.as_bytes(), number.to_string().as_bytes()) }
    }

    /// Whole seconds from 1970 on; a record has all others.
    fn set_time(&mut self, (seconds, nanoseconds): (i64, u32), records: &mut Records) -> io::Result<()> {
        let plain = u64::try_from(seconds).ok().filter(|seconds| *seconds <= SIZE_LIMIT);
        self.set_octal(136, 12, plain.unwrap_or(0));
        match (plain, nanoseconds) {
            (Some(_), 0) => Ok(()),
            _ => records.add(b"mtime", decimal_time(seconds, nanoseconds).as_bytes()),
        }
    }

    /// With the checksum: the sum of all bytes, its own field taken as spaces.
    fn finish(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        let digits = format!("{sum:06o}\0 ");
        self.0[148..156].copy_from_slice(digits.as_bytes());
        self.0
    }
}

/// Seconds with a fraction. Before 1970 the fraction counts away from zero, where timespec counts up.
fn decimal_time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, whole, fraction) = match (seconds, nanoseconds) {
        (0.., nanoseconds) => ("", seconds.unsigned_abs(), nanoseconds),
        (_, 0) => ("-", seconds.unsigned_abs(), 0),
        (_, nanoseconds) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

/// Records of a PAX header: `LENGTH KEY=VALUE\n`, where the length counts its own digits.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// Errors: the key has an `=` or a NUL byte, which readers take for its end.
    fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.contains(&b'=') || key.contains(&0) {
            let name = String::from_utf8_lossy(key).into_owned();
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?}: no name for an archive")));
        }
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while body + length.to_string().len() != length {
            length = body + length.to_string().len();
        }
        self.0.extend(length.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend(key);
        self.0.push(b'=');
        self.0.extend(value);
        self.0.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Entry<'static> =
        Entry { path: b"f", kind: Kind::Fifo, mode: 0o644, uid: 0, gid: 0, mtime: (1, 0), xattrs: &[] };

    fn header_of(entry: &Entry<'_>) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        tar.append(entry).unwrap();
        tar.inner
    }

    #[test]
    fn what_ustar_can_hold_needs_one_block() {
        let long = [b"d/".repeat(70), b"n".repeat(100)].concat();
        for path in [&b"a"[..], "ä".as_bytes(), b"\xff\xfe", &b"x".repeat(100), &long] {
            assert_eq!(header_of(&Entry { path, ..FILE }).len(), BLOCK, "{path:?}");
        }
    }

    #[test]
    fn what_it_can_not_hold_is_in_records() {
        let text = |entry: &Entry<'_>| String::from_utf8_lossy(&header_of(entry)[BLOCK..]).into_owned();
        let long = b"x".repeat(101);
        assert!(text(&Entry { path: &long, ..FILE }).starts_with(&format!("111 path={}\n", "x".repeat(101))));
        assert!(text(&Entry { uid: 4_000_000_000, ..FILE }).starts_with("18 uid=4000000000\n"));
        assert!(text(&Entry { mtime: (1, 500_000_000), ..FILE }).starts_with("13 mtime=1.5\n"));
        let xattrs = [(b"user.x".to_vec(), b"a\0b".to_vec())];
        assert!(text(&Entry { xattrs: &xattrs, ..FILE }).starts_with("27 SCHILY.xattr.user.x=a\0b\n"));
        let xattrs = [(b"user.x=".to_vec(), Vec::new())];
        assert!(TarWriter::new(Vec::new()).append(&Entry { xattrs: &xattrs, ..FILE }).is_err());
    }

    #[test]
    fn lengths_count_their_own_digits() {
        for size in [1, 2, 3, 89, 90, 91, 92, 93, 989, 990, 991, 992, 993] {
            let mut records = Records::default();
            records.add(b"k", &b"v".repeat(size)).unwrap();
            let length: usize = String::from_utf8_lossy(&records.0).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, records.0.len(), "{size}");
        }
    }

    #[test]
    fn times_before_1970_have_fractions_too() {
        assert_eq!(decimal_time(-2, 750_000_000), "-1.25");
        assert_eq!(decimal_time(-1, 750_000_000), "-0.25");
        assert_eq!(decimal_time(-3, 0), "-3");
        assert_eq!(decimal_time(7, 1), "7.000000001");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let mut tar = TarWriter::new(Vec::new());
        assert!(tar.append_file(&FILE, 5, &b"1234"[..]).is_err());
        let mut tar = TarWriter::new(Vec::new());
        tar.append_file(&FILE, 3, &b"1234"[..]).unwrap();
        assert_eq!(tar.finish().unwrap().len(), 4 * BLOCK);
    }
}
