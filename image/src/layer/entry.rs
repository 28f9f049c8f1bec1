//! An entry of a layer: a member of its archive, checked.

use super::error::ApplyError;
use crate::tar::read::Member;
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Bytes of a path and of a name at most (PATH_MAX, NAME_MAX).
const PATH_LIMIT: usize = 4095;
const NAME_LIMIT: usize = 255;
/// The prefix of extended attributes in a PAX header, as GNU tar and Go write them.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// A path in the layer: names with single slashes between them, without `.` and `..`; the root is
/// empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LayerPath(OsString);

/// What an entry makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    HardLink {
        target: LayerPath,
    },
    Symlink {
        target: OsString,
    },
    /// A device node or a FIFO.
    Special {
        kind: FileType,
        major: u32,
        minor: u32,
    },
}

/// What belongs to a file beside its data.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct LayerEntry {
    pub(crate) path: LayerPath,
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
}

impl LayerPath {
    /// From the bytes in an archive. A leading slash and `.` are left out, as by tar(1); `..`, which
    /// no archive of a layer needs, and a NUL byte are refused.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.contains(&0) {
            return Err("its path has a NUL byte");
        }
        let mut path = Vec::with_capacity(bytes.len());
        for name in bytes.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            if name == b".." {
                return Err("its path has a \"..\"");
            }
            if name.len() > NAME_LIMIT {
                return Err("its path has a name of more than 255 bytes");
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        if path.len() > PATH_LIMIT {
            return Err("its path has more than 4095 bytes");
        }
        Ok(Self(OsString::from_vec(path)))
    }

    pub(crate) fn root() -> Self {
        Self(OsString::new())
    }

    /// The path of the directory and the last name; `None` for the root.
    pub(crate) fn split(&self) -> Option<(Self, &OsStr)> {
        let bytes = self.0.as_bytes();
        let slash = bytes.iter().rposition(|byte| *byte == b'/');
        match (bytes, slash) {
            ([], _) => None,
            (name, None) => Some((Self::root(), OsStr::from_bytes(name))),
            (_, Some(at)) => {
                Some((Self(OsStr::from_bytes(&bytes[..at]).to_owned()), OsStr::from_bytes(&bytes[at + 1..])))
            }
        }
    }

    /// The directories on the way, the highest first, and the path itself.
    pub(crate) fn prefixes(&self) -> Vec<Self> {
        let bytes = self.0.as_bytes();
        let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends = slashes.chain((!bytes.is_empty()).then_some(bytes.len()));
        ends.map(|end| Self(OsStr::from_bytes(&bytes[..end]).to_owned())).collect()
    }

    /// Relative to the root of the layer: `.` for the root itself.
    pub(crate) fn relative(&self) -> &OsStr {
        if self.0.is_empty() { OsStr::new(".") } else { &self.0 }
    }

    /// The bytes that [`LayerPath::parse`] takes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// For messages, absolute.
    pub(crate) fn to_path(&self) -> PathBuf {
        Path::new("/").join(&self.0)
    }
}

impl LayerEntry {
    /// Errors: the member is no file that a layer may hold.
    pub(crate) fn new(member: &Member) -> Result<Self, ApplyError> {
        let checked = || {
            let path = LayerPath::parse(&member.path)?;
            Ok(Self { kind: kind(member)?, attributes: attributes(member)?, path })
        };
        let path = || Path::new("/").join(OsStr::from_bytes(&member.path));
        checked().map_err(|reason| ApplyError::Refused { path: path(), reason })
    }
}

fn kind(member: &Member) -> Result<Kind, &'static str> {
    let (major, minor) = member.device;
    Ok(match member.kind {
        // Old archives mark a directory by a slash alone.
        0 | b'0' | b'7' | b'S' if member.path.ends_with(b"/") => match member.map.size() {
            0 => Kind::Directory,
            _ => return Err("a directory with data"),
        },
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink { target: LayerPath::parse(&member.link)? },
        b'2' => Kind::Symlink { target: symlink_target(&member.link)? },
        b'3' if member.device == (0, 0) => {
            return Err("a character device 0:0, which overlayfs takes for a whiteout");
        }
        b'3' => Kind::Special { kind: FileType::CharacterDevice, major, minor },
        b'4' => Kind::Special { kind: FileType::BlockDevice, major, minor },
        b'5' => Kind::Directory,
        b'6' => Kind::Special { kind: FileType::Fifo, major: 0, minor: 0 },
        _ => return Err("its type is not known"),
    })
}

fn symlink_target(target: &[u8]) -> Result<OsString, &'static str> {
    if target.is_empty() || target.len() > PATH_LIMIT || target.contains(&0) {
        return Err("the target of a symbolic link that is empty, too long or has a NUL byte");
    }
    Ok(OsStr::from_bytes(target).to_owned())
}

fn attributes(member: &Member) -> Result<Attributes, &'static str> {
    // (uid_t)-1 means "no change" in chown(2).
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or("its owner is no id");
    let mut xattrs: Vec<(OsString, Vec<u8>)> = Vec::new();
    for (key, value) in member.pax.records() {
        if let Some(name) = key.strip_prefix(XATTR).filter(|name| is_of_files(name)) {
            if name.contains(&0) {
                return Err("an attribute whose name has a NUL byte");
            }
            xattrs.retain(|(known, _)| known.as_bytes() != name);
            xattrs.push((OsStr::from_bytes(name).to_owned(), value.to_vec()));
        }
    }
    Ok(Attributes { mode: member.mode, uid: id(member.uid)?, gid: id(member.gid)?, mtime: member.mtime, xattrs })
}

/// Whether an attribute belongs to a file wherever it is. Not those of overlayfs, by which a layer
/// could redirect into other layers, or hide and show names; and not the labels and signatures of
/// `security.`, which are of the policy of the host where the image was made.
pub(super) fn is_of_files(name: &[u8]) -> bool {
    let is_overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let is_known = name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default");
    is_known && !is_overlay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_names_only() {
        let path = |text: &str| LayerPath::parse(text.as_bytes()).map(|path| path.to_path());
        assert_eq!(path("./a//b/"), Ok("/a/b".into()));
        assert_eq!(path("/etc"), Ok("/etc".into()));
        assert_eq!(path("."), Ok("/".into()));
        for wrong in ["..", "a/../b", "../x", "a\0b", &"x/".repeat(3000), &"x".repeat(256)] {
            assert!(path(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn paths_are_split_at_slashes() {
        let path = |text: &str| LayerPath::parse(text.as_bytes()).unwrap();
        assert_eq!(path("a/b/c").split(), Some((path("a/b"), OsStr::new("c"))));
        assert_eq!(path("a").split(), Some((LayerPath::root(), OsStr::new("a"))));
        assert_eq!(path(".").split(), None);
        assert_eq!(path("a/b/c").prefixes(), [path("a"), path("a/b"), path("a/b/c")]);
        assert_eq!(path(".").prefixes(), []);
    }

    #[test]
    fn attributes_of_the_host_and_of_overlayfs_are_none_of_a_file() {
        for (name, wanted) in [
            ("user.note", true),
            ("trusted.note", true),
            ("security.capability", true),
            ("system.posix_acl_default", true),
            ("trusted.overlay.redirect", false),
            ("user.overlay.opaque", false),
            ("security.selinux", false),
            ("security.ima", false),
            ("system.nfs4_acl", false),
        ] {
            assert_eq!(is_of_files(name.as_bytes()), wanted, "{name}");
        }
    }
}
