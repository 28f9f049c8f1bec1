//! A file tree as text, to compare one with another.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is compared.
#[derive(Clone, Copy)]
pub struct Aspects {
    pub owners: bool,
    pub times: bool,
    pub links: bool,
}

pub const ALL: Aspects = Aspects { owners: true, times: true, links: true };

/// A line for each file below `top` and for itself, by path: kind, mode, owner, time, data, target,
/// device number, the first name of hard links, and extended attributes.
pub fn describe(top: &Path, aspects: Aspects) -> BTreeMap<PathBuf, String> {
    let mut lines = BTreeMap::new();
    let mut first = BTreeMap::new();
    walk(top, Path::new(""), aspects, &mut first, &mut lines);
    lines
}

type Inodes = BTreeMap<(u64, u64), PathBuf>;

fn walk(top: &Path, inside: &Path, aspects: Aspects, first: &mut Inodes, lines: &mut BTreeMap<PathBuf, String>) {
    // A path that ends in a slash leads through a link.
    let path = if inside.as_os_str().is_empty() { top.to_owned() } else { top.join(inside) };
    let meta = path.symlink_metadata().expect("stat");
    let mut line = line(&path, &meta, aspects);
    if aspects.links && !meta.is_dir() {
        let name = first.entry((meta.dev(), meta.ino())).or_insert_with(|| inside.to_owned());
        write!(line, " first={}", name.display()).unwrap();
    }
    lines.insert(inside.to_owned(), line);
    if meta.is_dir() {
        let mut names: Vec<_> =
            std::fs::read_dir(&path).expect("list").map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            walk(top, &inside.join(name), aspects, first, lines);
        }
    }
}

fn line(path: &Path, meta: &Metadata, aspects: Aspects) -> String {
    let kind = meta.file_type();
    let mut line = format!("{:o}", meta.mode());
    if aspects.owners {
        write!(line, " owner={}:{}", meta.uid(), meta.gid()).unwrap();
    }
    if aspects.times {
        write!(line, " time={}.{:09}", meta.mtime(), meta.mtime_nsec()).unwrap();
    }
    if kind.is_file() {
        let data = std::fs::read(path).expect("read");
        write!(line, " size={} data={:x}", data.len(), hash(&data)).unwrap();
    } else if kind.is_symlink() {
        write!(line, " target={:?}", path.read_link().expect("read link")).unwrap();
    } else if kind.is_char_device() || kind.is_block_device() {
        write!(line, " device={}", meta.rdev()).unwrap();
    }
    for (name, value) in attributes(path) {
        write!(line, " {name}={value:?}").unwrap();
    }
    line
}

fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length =
                rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..]).expect("getxattr");
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}
