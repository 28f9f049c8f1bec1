//! Compares an unpacked layer with the same one that was unpacked anew.

use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const BUFFER: usize = 128 << 10;
/// Bytes of a list of extended attributes and of the value of one at most (xattr(7)).
const ATTRIBUTE_LIMIT: usize = 1 << 16;
/// Set by the host's policy, not by the layer.
const HOST_LABELS: [&str; 2] = ["security.selinux", "security.ima"];

/// The first difference: a path in the layer, and what is different. `None`: they are the same.
pub(super) fn difference(wanted: &Path, actual: &Path) -> io::Result<Option<(PathBuf, &'static str)>> {
    Comparison { wanted, actual, links: HashMap::new() }.compare(Path::new(""))
}

struct Comparison<'a> {
    wanted: &'a Path,
    actual: &'a Path,
    /// The inodes of the files with several names, of both.
    links: HashMap<(u64, u64), (u64, u64)>,
}

impl Comparison<'_> {
    fn compare(&mut self, path: &Path) -> io::Result<Option<(PathBuf, &'static str)>> {
        let (wanted, actual) = (self.wanted.join(path), self.actual.join(path));
        let meta = fs::symlink_metadata(&wanted)?;
        let found = |what| Ok(Some((Path::new("/").join(path), what)));
        let other = match fs::symlink_metadata(&actual) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return found("it is missing"),
            result => result?,
        };
        if let Some(what) = self.facts(&meta, &other) {
            return found(what);
        }
        if attributes(&wanted)? != attributes(&actual)? {
            return found("its extended attributes are others");
        }
        let kind = meta.file_type();
        if kind.is_symlink() && fs::read_link(&wanted)? != fs::read_link(&actual)? {
            return found("it leads elsewhere");
        }
        if kind.is_file() && !has_same_bytes(&wanted, &actual)? {
            return found("its data are others");
        }
        if !kind.is_dir() {
            return Ok(None);
        }
        let names = names(&wanted)?;
        if let Some(name) = self::names(&actual)?.into_iter().find(|name| names.binary_search(name).is_err()) {
            return Ok(Some((Path::new("/").join(path).join(name), "it is not in the layer")));
        }
        for name in names {
            if let Some(found) = self.compare(&path.join(name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn facts(&mut self, wanted: &Metadata, actual: &Metadata) -> Option<&'static str> {
        let is_directory = wanted.is_dir();
        let inode = |meta: &Metadata| (meta.dev(), meta.ino());
        if wanted.mode() != actual.mode() {
            return Some("its kind or mode is another");
        }
        if (wanted.uid(), wanted.gid()) != (actual.uid(), actual.gid()) {
            return Some("its owner is another");
        }
        if (wanted.mtime(), wanted.mtime_nsec()) != (actual.mtime(), actual.mtime_nsec()) {
            return Some("its time is another");
        }
        if wanted.rdev() != actual.rdev() {
            return Some("its device number is another");
        }
        if !is_directory && wanted.len() != actual.len() {
            return Some("its size is another");
        }
        if !is_directory && wanted.nlink() != actual.nlink() {
            return Some("it has another number of hard links");
        }
        if !is_directory
            && wanted.nlink() > 1
            && *self.links.entry(inode(wanted)).or_insert(inode(actual)) != inode(actual)
        {
            return Some("it is a hard link to another file");
        }
        None
    }
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0; ATTRIBUTE_LIMIT];
    let length = match rustix::fs::llistxattr(path, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let mut found = Vec::new();
    let is_host = |name: &[u8]| HOST_LABELS.iter().any(|label| label.as_bytes() == name);
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty() && !is_host(name)) {
        let mut value = vec![0; ATTRIBUTE_LIMIT];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Of two files of the same size.
fn has_same_bytes(wanted: &Path, actual: &Path) -> io::Result<bool> {
    let (mut wanted, mut actual) = (File::open(wanted)?, File::open(actual)?);
    let (mut a, mut b) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let count = wanted.read(&mut a)?;
        if count == 0 {
            return Ok(actual.read(&mut b)? == 0);
        }
        match actual.read_exact(&mut b[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            result => result?,
        }
        if a[..count] != b[..count] {
            return Ok(false);
        }
    }
}
