//! What can be seen of a tree, to compare it with another.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub type Facts = (u32, u32, u32, u64, u64, i64, i64, Vec<u8>, Vec<(String, Vec<u8>)>);

/// What can be seen of each file below a directory, by its name.
pub fn tree(top: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).expect("list") {
            let path = entry.expect("entry").path();
            let meta = std::fs::symlink_metadata(&path).expect("stat");
            let text = match meta.file_type() {
                kind if kind.is_symlink() => {
                    std::fs::read_link(&path).expect("readlink").into_os_string().into_encoded_bytes()
                }
                kind if kind.is_file() => std::fs::read(&path).expect("read"),
                _ => Vec::new(),
            };
            let mut list = vec![0; 1 << 16];
            let length = rustix::fs::llistxattr(&path, &mut list).expect("list attributes");
            let mut attributes: Vec<_> = String::from_utf8_lossy(&list[..length])
                .split_terminator('\0')
                .map(|name| {
                    let mut value = vec![0; 1 << 16];
                    let length = rustix::fs::lgetxattr(&path, name, &mut value).expect("read attribute");
                    value.truncate(length);
                    (name.to_owned(), value)
                })
                .collect();
            attributes.sort();
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let name = path.strip_prefix(top).expect("below").to_owned();
            let facts = (
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.rdev(),
                size,
                meta.mtime(),
                meta.mtime_nsec(),
                text,
                attributes,
            );
            all.insert(name, facts);
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    all
}
