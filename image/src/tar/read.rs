//! Reads a tar archive from a stream: ustar, GNU (long names, sparse files, binary numbers) and
//! PAX. Where two readers of today could see two different archives, it is an error: names and
//! sizes that disagree, data after types that have none, global headers that rename.

use super::header::{BLOCK, Header};
use super::pax::{self, Pax};
use super::sparse::{self, DataMap, SparseMap};
use std::io::{self, Read};

/// Bytes of a long name or an extended header at most, as in Go's archive/tar.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// Why bytes are no tar archive that can be read in one way only.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    #[error("read the archive")]
    Read(#[source] io::Error),
    #[error("the archive is malformed in the member before byte {at}: {reason}")]
    Malformed { at: u64, reason: &'static str },
}

/// An archive.
pub(crate) struct TarReader<R> {
    inner: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    /// Bytes that were read.
    at: u64,
    /// Bytes of the member's data that were not read yet, and of the padding after them.
    left: u64,
    padding: u64,
}

/// One member, as its headers say together.
#[derive(Debug)]
pub(crate) struct Member {
    /// The type flag.
    pub(crate) kind: u8,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) device: (u32, u32),
    /// For the attributes that are left.
    pub(crate) pax: Pax,
    /// Of a file; its data follows in this order.
    pub(crate) map: SparseMap,
}

/// The headers before a member's own.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self::with_skip(inner, |inner, count| match io::copy(&mut inner.take(count), &mut io::sink())? {
            skipped if skipped < count => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        })
    }

    /// With a function that goes forward in the archive. Errors of it: UnexpectedEof.
    pub(crate) fn with_skip(inner: R, skip: fn(&mut R, u64) -> io::Result<()>) -> Self {
        Self { inner, skip, at: 0, left: 0, padding: 0 }
    }

    /// Where in the archive the member's data that was not read yet begins.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next member; `None` at the end marker, or where the archive ends between two members.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let rest = self.left + self.padding;
        self.skip(rest)?;
        (self.left, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        loop {
            let any = extensions.pax.is_some() || extensions.path.is_some() || extensions.link.is_some();
            let Some(block) = self.block()? else {
                return if any { Err(self.malformed("a header is followed by nothing")) } else { Ok(None) };
            };
            if block == [0; BLOCK] {
                let ends = self.block()?.is_none_or(|second| second == [0; BLOCK]);
                return if ends && !any { Ok(None) } else { Err(self.malformed("a header follows the end marker")) };
            }
            let header = Header::parse(&block).map_err(|reason| self.malformed(reason))?;
            if !self.extension(&header, &mut extensions)? {
                return self.member(&header, extensions).map(Some);
            }
        }
    }

    /// Reads an extended header. Whether it was one.
    fn extension(&mut self, header: &Header<'_>, extensions: &mut Extensions) -> Result<bool, TarError> {
        let kind = header.kind();
        if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
            return Ok(false);
        }
        let text = self.extension_text(header)?;
        let twice = |twice: bool| if twice { Err("it has two headers of one kind") } else { Ok(()) };
        let done = match kind {
            b'L' => twice(extensions.path.replace(until_nul(text)).is_some()),
            b'K' => twice(extensions.link.replace(until_nul(text)).is_some()),
            b'x' => Pax::parse(&text).and_then(|pax| twice(extensions.pax.replace(pax).is_some())),
            _ => Pax::parse(&text).and_then(|pax| check_global(&pax)),
        };
        done.map(|()| true).map_err(|reason| self.malformed(reason))
    }

    fn extension_text(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let size = header.size().map_err(|reason| self.malformed(reason))?;
        if size > EXTENSION_LIMIT {
            return Err(self.malformed("a name or an extended header has more than 1 MiB"));
        }
        let mut text = vec![0; size as usize];
        self.fill(&mut text)?;
        self.skip(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(text)
    }

    fn member(&mut self, header: &Header<'_>, extensions: Extensions) -> Result<Member, TarError> {
        let pax = extensions.pax.unwrap_or_default();
        let described = describe(header, &pax, extensions.path, extensions.link);
        let (mut member, stored) = described.map_err(|reason| self.malformed(reason))?;
        self.left = stored;
        self.padding =
            stored.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| self.malformed("it is too large"))? - stored;
        member.map = self.map(header, &pax, member.kind)?;
        member.pax = pax;
        Ok(member)
    }

    /// Where the data of the member lies in its file.
    fn map(&mut self, header: &Header<'_>, pax: &Pax, kind: u8) -> Result<SparseMap, TarError> {
        let malformed = |reader: &Self, reason| TarError::Malformed { at: reader.at, reason };
        if kind == b'S' {
            return self.gnu_map(header);
        }
        let small = sparse::of_pax(pax).map_err(|reason| malformed(self, reason))?;
        let size = || match pax.number("GNU.sparse.realsize")? {
            Some(size) => Ok(Some(size)),
            None => pax.number("GNU.sparse.size"),
        };
        let size = size().map_err(|reason| malformed(self, reason))?;
        let major = pax.get("GNU.sparse.major");
        let pieces = match (small, major, pax.get("GNU.sparse.minor")) {
            (Some(pieces), None, _) => pieces,
            (None, Some(b"1"), Some(b"0")) => self.map_in_data()?,
            (None, None, None) if size.is_none() => return Ok(SparseMap::whole(self.left)),
            _ => return Err(self.malformed("its sparse map is of an unknown form")),
        };
        let size = size.ok_or_else(|| self.malformed("it is sparse, but has no size"))?;
        SparseMap::new(pieces, size, self.left).map_err(|reason| self.malformed(reason))
    }

    /// The map in the header and in the blocks after it, before the data.
    fn gnu_map(&mut self, header: &Header<'_>) -> Result<SparseMap, TarError> {
        let (pairs, mut more, size) = header.sparse().map_err(|reason| self.malformed(reason))?;
        let mut pieces = Vec::new();
        sparse::add_gnu_pairs(&mut pieces, pairs).map_err(|reason| self.malformed(reason))?;
        while more {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            sparse::add_gnu_pairs(&mut pieces, &block[..504]).map_err(|reason| self.malformed(reason))?;
            more = block[504] != 0;
        }
        SparseMap::new(pieces, size, self.left).map_err(|reason| self.malformed(reason))
    }

    fn map_in_data(&mut self) -> Result<Vec<(u64, u64)>, TarError> {
        let mut map = DataMap::default();
        loop {
            let Some(left) = self.left.checked_sub(BLOCK as u64) else {
                return Err(self.malformed("its sparse map ends early"));
            };
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            self.left = left;
            if let Some(pieces) = map.add(&block).map_err(|reason| self.malformed(reason))? {
                return Ok(pieces);
            }
        }
    }

    /// The next block; `None` where the archive ends.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.malformed("it ends within a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.at += BLOCK as u64;
        Ok(Some(block))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        self.inner.read_exact(buffer).map_err(TarError::Read)?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        if count > 0 {
            (self.skip)(&mut self.inner, count).map_err(TarError::Read)?;
        }
        self.at += count;
        Ok(())
    }

    fn malformed(&self, reason: &'static str) -> TarError {
        TarError::Malformed { at: self.at, reason }
    }
}

/// Reads the data of the current member, without the holes.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }
}

/// A member without its map, and the bytes that the archive has for it.
fn describe(
    header: &Header<'_>,
    pax: &Pax,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<(Member, u64), &'static str> {
    let kind = header.kind();
    let stored = match pax.number("size")? {
        Some(size) => size,
        None => header.size()?,
    };
    if matches!(kind, b'1'..=b'6') && stored != 0 {
        return Err("it has data, which its type does not have");
    }
    let path = choose(long_path, pax.get("path"))?.unwrap_or_else(|| header.path());
    let member = Member {
        kind,
        path: pax.get("GNU.sparse.name").map_or(path, <[u8]>::to_vec),
        link: choose(long_link, pax.get("linkpath"))?.unwrap_or_else(|| header.link().to_vec()),
        mode: header.mode()?,
        uid: pax.number("uid")?.map_or_else(|| header.uid(), Ok)?,
        gid: pax.number("gid")?.map_or_else(|| header.gid(), Ok)?,
        mtime: pax.get("mtime").map_or_else(|| Ok((header.mtime()?, 0)), pax::time)?,
        device: if matches!(kind, b'3' | b'4') { header.device()? } else { (0, 0) },
        pax: Pax::default(),
        map: SparseMap::default(),
    };
    Ok((member, stored))
}

/// The name of a GNU header and of a PAX header, of which readers prefer different ones.
fn choose(gnu: Option<Vec<u8>>, pax: Option<&[u8]>) -> Result<Option<Vec<u8>>, &'static str> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => Err("its GNU and PAX headers have two different names"),
        (gnu, pax) => Ok(gnu.or_else(|| pax.map(<[u8]>::to_vec))),
    }
}

/// GNU tar applies a global header to all members that follow, and Go's archive/tar to none.
fn check_global(pax: &Pax) -> Result<(), &'static str> {
    let changes = |key: &[u8]| {
        matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid")
            || key.starts_with(b"GNU.sparse.")
            || key.starts_with(b"SCHILY.")
    };
    match pax.records().any(|(key, _)| changes(key)) {
        true => Err("a global PAX header changes all members, which only some programs obey"),
        false => Ok(()),
    }
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}
