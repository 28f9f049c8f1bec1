//! Lines of ours in a file of the host's: a block between two marks, which is replaced as a whole, at once,
//! and under a lock. All other lines stay as they are.

use crate::generation::lock;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A file, and how our lines are known in it.
#[derive(Debug)]
pub struct Block<'a> {
    pub file: &'a Path,
    /// Of all firnctls of the host.
    pub lock: &'a Path,
    /// Whose lines they are.
    pub owner: &'a str,
    /// Whether a line is ours for sure, where the end mark was removed.
    pub is_ours: fn(&[u8]) -> bool,
    /// Of a file that is not there yet.
    pub mode: u32,
}

/// What has become of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// It has the lines.
    Yes,
    /// It is a symbolic link, as on NixOS: other programs generate it, and it stays.
    Link,
}

impl Block<'_> {
    /// Writes the lines; without any the block is removed.
    pub fn write(&self, lines: impl FnOnce() -> Result<Vec<String>>) -> Result<Written> {
        let what = || self.file.display().to_string();
        let _lock = lock(self.lock)?;
        let old = match std::fs::read(self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            result => result.with_context(what)?,
        };
        let new = self.replaced(&old, &lines()?);
        if new == old {
            return Ok(Written::Yes);
        }
        if std::fs::symlink_metadata(self.file).is_ok_and(|metadata| metadata.is_symlink()) {
            return Ok(Written::Link);
        }
        self.replace(&new).with_context(what)?;
        Ok(Written::Yes)
    }

    /// The text with these lines between our marks, and all others as they were.
    fn replaced(&self, text: &[u8], lines: &[String]) -> Vec<u8> {
        let (begin, end) = (format!("# {} containers: begin", self.owner), format!("# {} containers: end", self.owner));
        let all: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let is = |line: &[u8], mark: &str| line.trim_ascii_end() == mark.as_bytes();
        let mut new = Vec::with_capacity(text.len());
        let mut rest = all.as_slice();
        while let Some((line, after)) = rest.split_first() {
            rest = after;
            if is(line, &begin) {
                let ours = after.iter().take_while(|line| (self.is_ours)(line.trim_ascii_end())).count();
                let length = after.iter().position(|line| is(line, &end)).map_or(ours, |at| at + 1);
                rest = &after[length..];
            } else {
                new.extend_from_slice(line);
            }
        }
        if !lines.is_empty() {
            if new.last().is_some_and(|byte| *byte != b'\n') {
                new.push(b'\n');
            }
            new.extend_from_slice(format!("{begin}\n{}\n{end}\n", lines.join("\n")).as_bytes());
        }
        new
    }

    /// At once, where the file is no mount of its own, as it is in a container.
    fn replace(&self, text: &[u8]) -> std::io::Result<()> {
        let new = self.file.with_extension("firn-new");
        let replaced = self.write_beside(&new, text).and_then(|()| std::fs::rename(&new, self.file));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        match replaced {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => std::fs::write(self.file, text),
            result => result,
        }
    }

    /// On disk before it has the name: a host that loses power has the old file or the new one.
    fn write_beside(&self, new: &Path, text: &[u8]) -> std::io::Result<()> {
        match std::fs::remove_file(new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(new)?;
        std::io::Write::write_all(&mut file, text)?;
        let mode = match std::fs::metadata(self.file) {
            Ok(old) => {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                old.mode() & 0o7777
            }
            Err(_) => self.mode,
        };
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_replaced_and_nothing_else() {
        let lines = ["10.1.1.2 web.containers".to_owned()];
        fn block(owner: &str) -> Block<'_> {
            let is_ours = |line: &[u8]| line.ends_with(b".containers");
            Block { file: Path::new(""), lock: Path::new(""), owner, is_ours, mode: 0o644 }
        }
        let with = |text: &str, owner: &str, lines: &[String]| {
            String::from_utf8(block(owner).replaced(text.as_bytes(), lines)).unwrap()
        };
        let made = with("127.0.0.1 localhost", "firn", &lines);
        assert_eq!(
            made,
            "127.0.0.1 localhost\n# firn containers: begin\n10.1.1.2 web.containers\n# firn containers: end\n"
        );
        let others = format!("{made}::1 localhost\n");
        assert_eq!(with(&others, "firn", &[]), "127.0.0.1 localhost\n::1 localhost\n");
        assert_eq!(with(&others, "firn", &lines), with(&with(&others, "firn", &lines), "firn", &lines));
        assert_eq!(with(&others, "firn-2", &[]), others);
        // Without its end.
        let cut = made.replace("# firn containers: end\n", "192.0.2.7 important\n");
        assert_eq!(with(&cut, "firn", &[]), "127.0.0.1 localhost\n192.0.2.7 important\n");
        assert_eq!(block("firn").replaced(b"\xff\n", &[]), b"\xff\n");
    }
}
