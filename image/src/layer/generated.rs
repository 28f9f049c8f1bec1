//! Layers of files that are made here, and not read from a directory.

use super::tar_write::{Entry, Kind, TarWriter};
use std::io::{self, Write};

/// Times of all files, as of store paths.
const TIME: (i64, u32) = (1, 0);

/// A file of such a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GeneratedFile {
    /// In the root, without a slash at either end.
    pub(crate) path: String,
    pub(crate) content: Content,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Directory,
    Symlink(String),
    Bytes(Vec<u8>),
}

impl GeneratedFile {
    /// A directory of root's, mode 0755.
    pub(crate) fn directory(path: &str) -> Self {
        Self { path: path.into(), content: Content::Directory, mode: 0o755, uid: 0, gid: 0 }
    }

    /// A symbolic link.
    pub(crate) fn link(path: String, target: String) -> Self {
        Self { path, content: Content::Symlink(target), mode: 0o777, uid: 0, gid: 0 }
    }

    /// A regular file of root's.
    pub(crate) fn bytes(path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self { path: path.into(), content: Content::Bytes(bytes.into()), mode, uid: 0, gid: 0 }
    }
}

/// Puts files in the order of an archive, with the directories above each that are not there yet.
pub(crate) fn complete(files: Vec<GeneratedFile>) -> Vec<GeneratedFile> {
    let mut all = std::collections::BTreeMap::new();
    for file in &files {
        for (slash, _) in file.path.match_indices('/') {
            let parent = &file.path[..slash];
            all.entry(parent.to_owned()).or_insert_with(|| GeneratedFile::directory(parent));
        }
    }
    all.extend(files.into_iter().map(|file| (file.path.clone(), file)));
    all.into_values().collect()
}

/// Writes the archive.
pub(crate) fn pack<W: Write>(files: &[GeneratedFile], archive: W) -> io::Result<W> {
    let mut tar = TarWriter::new(archive);
    for file in files {
        let entry = |kind| Entry {
            path: file.path.as_bytes(),
            kind,
            mode: file.mode,
            uid: file.uid,
            gid: file.gid,
            mtime: TIME,
            xattrs: &[],
        };
        match &file.content {
            Content::Directory => tar.append(&entry(Kind::Directory))?,
            Content::Symlink(target) => tar.append(&entry(Kind::Symlink { target: target.as_bytes() }))?,
            Content::Bytes(bytes) => {
                let size = bytes.len() as u64;
                tar.append_file(&entry(Kind::File { size }), size, &bytes[..])?;
            }
        }
    }
    tar.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let files = vec![
            GeneratedFile::bytes("etc/ssh/config", "", 0o644),
            GeneratedFile { mode: 0o700, ..GeneratedFile::directory("etc/ssh") },
            GeneratedFile::link("bin".into(), "usr/bin".into()),
        ];
        let complete = complete(files);
        let lines: Vec<_> = complete.iter().map(|file| format!("{} {:o}", file.path, file.mode)).collect();
        assert_eq!(lines, ["bin 777", "etc 755", "etc/ssh 700", "etc/ssh/config 644"]);
    }
}
