//! One block of a tar header (tar(5)): ustar, GNU and their forerunner.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;

/// A header whose checksum is right.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

/// What a number in a header that is none means.
const NO_NUMBER: &str = "a number of its header is none";

impl<'a> Header<'a> {
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, &'static str> {
        let header = Self(block);
        let sum: i64 = block.iter().map(|byte| i64::from(*byte)).sum();
        // The field itself counts as spaces.
        let field: i64 = block[148..156].iter().map(|byte| i64::from(*byte)).sum();
        match number(&block[148..156])? == sum - field + 8 * i64::from(b' ') {
            true => Ok(header),
            false => Err("the checksum of its header is wrong"),
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The name, with the prefix of ustar.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if self.is_posix() { text(&self.0[345..500]) } else { &[] };
        match prefix {
            [] => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    pub(crate) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    /// The mode, with bits of the file's type in some archives.
    pub(crate) fn mode(&self) -> Result<u32, &'static str> {
        Ok(self.unsigned(100, 108)? as u32 & 0o7777)
    }

    pub(crate) fn uid(&self) -> Result<u64, &'static str> {
        self.unsigned(108, 116)
    }

    pub(crate) fn gid(&self) -> Result<u64, &'static str> {
        self.unsigned(116, 124)
    }

    pub(crate) fn size(&self) -> Result<u64, &'static str> {
        self.unsigned(124, 136)
    }

    pub(crate) fn mtime(&self) -> Result<i64, &'static str> {
        number(&self.0[136..148])
    }

    /// Major and minor number.
    pub(crate) fn device(&self) -> Result<(u32, u32), &'static str> {
        let part = |from, to| u32::try_from(self.unsigned(from, to)?).map_err(|_| NO_NUMBER);
        Ok((part(329, 337)?, part(337, 345)?))
    }

    /// The first pairs of a sparse file's map (GNU), whether more blocks of them follow, and the
    /// file's size.
    pub(crate) fn sparse(&self) -> Result<(&'a [u8], bool, u64), &'static str> {
        match self.is_gnu() {
            true => Ok((&self.0[386..482], self.0[482] != 0, self.unsigned(483, 495)?)),
            false => Err("it is sparse, but not of GNU form"),
        }
    }

    fn is_posix(&self) -> bool {
        self.0[257..263] == *b"ustar\0"
    }

    fn is_gnu(&self) -> bool {
        self.0[257..265] == *b"ustar  \0"
    }

    fn unsigned(&self, from: usize, to: usize) -> Result<u64, &'static str> {
        u64::try_from(number(&self.0[from..to])?).map_err(|_| NO_NUMBER)
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// An octal number between spaces or NULs, or with a first byte of 0x80 or more a binary one of two's
/// complement (GNU). An empty field is 0.
pub(crate) fn number(field: &[u8]) -> Result<i64, &'static str> {
    if field[0] & 0x80 != 0 {
        let start = i128::from((field[0] << 1) as i8 >> 1);
        let value =
            field[1..].iter().try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)));
        return value.and_then(|value| i64::try_from(value).ok()).ok_or(NO_NUMBER);
    }
    let start = field.iter().position(|byte| !matches!(byte, b' ' | 0)).unwrap_or(field.len());
    let end = field[start..].iter().position(|byte| matches!(byte, b' ' | 0)).map_or(field.len(), |end| start + end);
    field[start..end].iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value + i64::from(byte - b'0')).ok_or(NO_NUMBER),
        _ => Err(NO_NUMBER),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000755\0"), Ok(0o755));
        assert_eq!(number(b"   755 \0"), Ok(0o755));
        assert_eq!(number(b"\0\0\0\0"), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\x01\0\0\0"), Ok(1 << 24));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Ok(-2));
        for wrong in [&b"12x"[..], b"8", b"-1", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
    }
}
