//! A tar file whose members are read where they lie: nothing of it is unpacked.

use super::oci_layout::open_file;
use crate::oci::file_range::FileRange;
use crate::sandbox::decoder::Decoder;
use crate::tar::read::{TarError, TarReader};
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Members of an archive of an image at most.
const MEMBER_LIMIT: usize = 100_000;
/// Uncompressed bytes of a compressed archive at most.
const BYTE_LIMIT: u64 = 256 << 30;

/// A tar file.
#[derive(Debug)]
pub(crate) struct TarFile {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<String, Found>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
enum Found {
    File {
        offset: u64,
        size: u64,
    },
    /// A link of either kind to the member of this name.
    Link(String),
}

/// Why a file is no archive of an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarFileError {
    #[error("open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("decompress {path} into {scratch}")]
    Decompress { path: PathBuf, scratch: PathBuf, source: io::Error },
    #[error("{path}: is it a tar file?")]
    Tar { path: PathBuf, source: TarError },
    #[error("{0}: it has more than {MEMBER_LIMIT} members")]
    TooMany(PathBuf),
}

impl TarFile {
    /// Reads the headers of a tar file. If it is compressed, its content goes to a file without a
    /// name in the directory `scratch` first.
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Self, TarFileError> {
        let open = |source| TarFileError::Open { path: path.to_owned(), source };
        let mut file = open_file(path).map_err(open)?;
        let mut start = [0; 512];
        let length = read_start(&file, &mut start).map_err(open)?;
        if length < start.len() || start[257..262] != *b"ustar" {
            file = decompressed(file, scratch).map_err(|source| {
                let (path, scratch) = (path.to_owned(), scratch.to_owned());
                TarFileError::Decompress { path, scratch, source }
            })?;
        }
        let members = list(&file, path)?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), members })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A member's bytes. A link is followed to another member, once, as docker writes them for
    /// layers that come again.
    pub(crate) fn read(&self, name: &str) -> io::Result<FileRange> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("the archive has no member {name:?}"));
        let mut found = self.members.get(name).ok_or_else(missing)?;
        if let Found::Link(target) = found {
            found = self.members.get(target).ok_or_else(missing)?;
        }
        match found {
            Found::File { offset, size } => Ok(FileRange::new(Arc::clone(&self.file), *offset, offset + size)),
            Found::Link(_) => Err(missing()),
        }
    }
}

fn read_start(file: &File, start: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < start.len() {
        match file.read_at(&mut start[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// The content in a file that is gone when nobody has it open.
fn decompressed(file: File, scratch: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mut plain: File = rustix::fs::openat(CWD, scratch, flags, Mode::RUSR | Mode::WUSR)?.into();
    io::copy(&mut Decoder::start(FileRange::whole(file)?, BYTE_LIMIT)?, &mut plain)?;
    plain.rewind()?;
    Ok(plain)
}

fn list(file: &File, path: &Path) -> Result<HashMap<String, Found>, TarFileError> {
    let tar = |source| TarFileError::Tar { path: path.to_owned(), source };
    let mut reader = TarReader::with_skip(BufReader::new(file), |file, count| {
        let end = file.get_ref().metadata()?.len();
        let count = i64::try_from(count).map_err(io::Error::other)?;
        file.seek_relative(count)?;
        if file.stream_position()? > end { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    });
    let mut members = HashMap::new();
    while let Some(member) = reader.next_member().map_err(tar)? {
        // Those of images are ASCII; others are not asked for.
        let Some(name) = clean(&member.path, "") else { continue };
        let found = match member.kind {
            0 | b'0' => Found::File { offset: reader.position(), size: member.map.size() },
            b'1' => match clean(&member.link, "") {
                Some(target) => Found::Link(target),
                None => continue,
            },
            b'2' => match clean(&member.link, name.rsplit_once('/').map_or("", |(parent, _)| parent)) {
                Some(target) => Found::Link(target),
                None => continue,
            },
            _ => continue,
        };
        if members.len() >= MEMBER_LIMIT {
            return Err(TarFileError::TooMany(path.to_owned()));
        }
        members.insert(name, found);
    }
    Ok(members)
}

/// A path in the archive from `base`, without `.` and `..`; `None` if it is not UTF-8, or leads out.
fn clean(path: &[u8], base: &str) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let base = if path.starts_with('/') { "" } else { base };
    let mut names = Vec::new();
    for name in base.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        assert_eq!(clean(b"./a//b", ""), Some("a/b".into()));
        assert_eq!(clean(b"../other/layer.tar", "this"), Some("other/layer.tar".into()));
        assert_eq!(clean(b"/a", "this"), Some("a".into()));
        assert_eq!(clean(b"../../etc/passwd", "this"), None);
        assert_eq!(clean(b"\xff", ""), None);
    }
}
