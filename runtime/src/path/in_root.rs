//! Look-ups inside the container's root.
//!
//! What lies below the root is under the attacker's control: the image's symbolic links,
//! and renames by processes that share a volume. A path that is checked and then used by
//! name can be replaced in between by a link to the host (CVE-2021-30465), and a magic
//! link such as /proc/self/exe leaves every root (CVE-2019-5736). So [`InRoot`] has no
//! `AsRef<Path>`, and each look-up is one openat2(2) on the root's descriptor with
//! RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS; what follows is done on the descriptor.
//! Also against CVE-2019-18837 and CVE-2024-45310, of crun and runc.

use crate::error::{Context, Error, Result};
use crate::sys::fds::CloseBatch;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// MAXSYMLINKS of the kernel, path_resolution(7).
const MAX_LINKS: u32 = 40;

/// A normalized path relative to a container's root: no leading slash, no empty, `.` or
/// `..` component. Empty for the root itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InRoot(Vec<u8>);

impl InRoot {
    /// Normalizes `path` lexically, as runc does with paths of config.json: `..` removes
    /// the component before it, and is dropped at the root.
    pub fn new(path: impl AsRef<[u8]>) -> Self {
        let mut clean: Vec<&[u8]> = Vec::new();
        for part in path.as_ref().split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(clean.pop()),
                part => clean.push(part),
            }
        }
        InRoot(clean.join(&b'/'))
    }

    /// Whether it is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is `self` or below it.
    pub fn contains(&self, other: &InRoot) -> bool {
        self.is_root()
            || other.0 == self.0
            || (other.0.starts_with(&self.0) && other.0.get(self.0.len()) == Some(&b'/'))
    }

    /// `self` relative to `base`. None where it is not below it.
    pub fn strip_prefix(&self, base: &InRoot) -> Option<InRoot> {
        base.contains(self).then(|| InRoot::new(&self.0[base.0.len()..]))
    }

    /// `name`, which may have several components, below `self`; normalized.
    pub fn join(&self, name: impl AsRef<[u8]>) -> InRoot {
        InRoot::new([&self.0, name.as_ref()].join(&b'/'))
    }

    /// The parent directory, and the last component (empty for the root).
    pub fn parent_and_name(&self) -> (InRoot, Vec<u8>) {
        let (above, name) = self.split_last();
        (above, name.to_vec())
    }

    fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(if self.0.is_empty() { b"." } else { &self.0 })
    }

    fn split_last(&self) -> (InRoot, &[u8]) {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => (InRoot(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (InRoot(Vec::new()), &self.0),
        }
    }
}

/// An absolute path, as the container's processes see it.
impl fmt::Display for InRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for InRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InRoot({self})")
    }
}

/// The descriptor of a container's root directory.
#[derive(Debug)]
pub struct RootFd(OwnedFd);

impl AsFd for RootFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is created where a look-up fails with ENOENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    Directory,
    File,
}

/// Refuses a directory, by its descriptor, as a place to create something in.
pub type DirectoryCheck<'a> = &'a dyn Fn(&OwnedFd) -> Result<()>;

impl RootFd {
    /// Takes the descriptor of a root directory (O_PATH or an attached mount).
    pub fn new(fd: OwnedFd) -> Self {
        RootFd(fd)
    }

    /// Opens `path` with `flags`; symbolic links resolve within the root. Errors: those of
    /// openat2(2); ELOOP at a magic link; ESTALE as for [`super::openat2_retry`].
    pub fn open(&self, path: &InRoot, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.open_resolve(path, flags, ResolveFlags::empty())
    }

    /// As [`RootFd::open`] with RESOLVE_NO_SYMLINKS: ELOOP where any component is a link.
    pub fn open_no_symlinks(&self, path: &InRoot, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.open_resolve(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    fn open_resolve(&self, path: &InRoot, flags: OFlags, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        super::openat2_retry(&self.0, path.as_os_str(), flags, resolve)
    }

    /// Opens `path` with O_PATH as the target of a mount, and creates it where it is missing.
    pub fn open_or_create(&self, path: &InRoot, missing: IfMissing, mode: Mode) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.create(path, missing, mode, &|_| Ok(()), MAX_LINKS),
            result => result.doing(|| format!("open {path} in the container's root")),
        }
    }

    /// Opens a directory in which something will be created, and creates it where it is
    /// missing (mode 0755). `check` may refuse it, and each directory above it in which
    /// one is created.
    pub fn open_or_create_directory(&self, path: &InRoot, check: DirectoryCheck<'_>) -> Result<OwnedFd> {
        let mode = Mode::from_raw_mode(0o755);
        let directory = match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => self.create(path, IfMissing::Directory, mode, check, MAX_LINKS)?,
            result => result.doing(|| format!("open {path} in the container's root"))?,
        };
        check(&directory).doing(|| format!("create files in {path}"))?;
        Ok(directory)
    }

    /// Creates `path` where no component of its parent is a symbolic link. None where one
    /// is, or where `path` exists.
    pub fn create_no_symlinks(
        &self,
        path: &InRoot,
        missing: IfMissing,
        mode: Mode,
        batch: &mut CloseBatch,
    ) -> Result<Option<OwnedFd>> {
        let (above, name) = path.split_last();
        let Ok(parent) = self.open_no_symlinks(&above, OFlags::PATH | OFlags::DIRECTORY) else { return Ok(None) };
        let name = OsStr::from_bytes(name);
        match create_entry(&parent, name, missing, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(errno) => return Err(errno).doing(|| format!("create {path} in the container's root")),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty());
        batch.add(parent);
        made.map(Some).doing(|| format!("open {path} in the container's root"))
    }

    /// Creates `path` and its missing parents. A dangling symbolic link is followed within
    /// the root: an image's resolv.conf may point into an empty /run.
    fn create(
        &self,
        path: &InRoot,
        missing: IfMissing,
        mode: Mode,
        check: DirectoryCheck<'_>,
        links: u32,
    ) -> Result<OwnedFd> {
        let (above, name) = path.split_last();
        let parent = match self.open(&above, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => self.create(&above, IfMissing::Directory, Mode::from_raw_mode(0o755), check, links)?,
            result => result.doing(|| format!("open {above} in the container's root"))?,
        };
        let name = OsStr::from_bytes(name);
        check(&parent).doing(|| format!("create {path}"))?;
        match create_entry(&parent, name, missing, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return self.create_through_symlink(path, &above, &parent, name, (missing, mode, check, links));
            }
            Err(errno) => return Err(errno).doing(|| format!("create {path} in the container's root")),
        }
        self.open(path, OFlags::PATH).doing(|| format!("open {path} in the container's root"))
    }

    /// `path` was missing, and mkdirat or O_EXCL say EEXIST: a dangling link, whose target
    /// is created instead, or a race.
    fn create_through_symlink(
        &self,
        path: &InRoot,
        above: &InRoot,
        parent: &OwnedFd,
        name: &OsStr,
        (missing, mode, check, links): (IfMissing, Mode, DirectoryCheck<'_>, u32),
    ) -> Result<OwnedFd> {
        let Some(links) = links.checked_sub(1) else {
            return Err(Errno::LOOP).doing(|| format!("follow {path} in the container's root"));
        };
        match rustix::fs::readlinkat(parent, name, Vec::new()) {
            Ok(target) => {
                let target = target.to_bytes();
                let target = if target.starts_with(b"/") { InRoot::new(target) } else { above.join(target) };
                match self.open(&target, OFlags::PATH) {
                    Err(Errno::NOENT) => self.create(&target, missing, mode, check, links),
                    result => result.doing(|| format!("open {target} in the container's root")),
                }
            }
            // Created by another process since the look-up.
            Err(Errno::INVAL) => self.open(path, OFlags::PATH).doing(|| format!("open {path} in the container's root")),
            Err(errno) => Err(errno).doing(|| format!("follow {path} in the container's root")),
        }
    }

    /// Reads a regular file of at most `limit` bytes. None where there is none.
    pub fn read_file(&self, path: &InRoot, limit: u64) -> Result<Option<Vec<u8>>> {
        let what = || format!("open {path} in the container's root");
        // O_NONBLOCK: opening a FIFO without a writer would block. O_NOCTTY: a terminal
        // would become ours.
        let file = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            result => result.doing(what)?,
        };
        let stat = rustix::fs::fstat(&file).doing(what)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(Error::new(format!("{path} in the container's root is not a regular file")));
        }
        if stat.st_size as u64 > limit {
            return Err(Error::new(format!("{path} in the container's root is larger than {limit} bytes")));
        }
        // No more than st_size: a link may lead to a file of procfs, whose st_size is 0
        // and whose content has any length.
        let text = super::read_exactly(&file, stat.st_size as usize).doing(|| format!("read {path}"))?;
        Ok(Some(text))
    }
}

fn create_entry(parent: &OwnedFd, name: &OsStr, missing: IfMissing, mode: Mode) -> rustix::io::Result<()> {
    match missing {
        IfMissing::Directory => rustix::fs::mkdirat(parent, name, mode),
        IfMissing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, mode).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of procfs have no size and any length.
    #[test]
    fn no_more_is_read_than_a_file_says_it_has() {
        #[expect(clippy::disallowed_methods, reason = "the machine's own root")]
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let text = RootFd::new(root).read_file(&InRoot::new("/proc/self/environ"), 10).unwrap();
        assert_eq!(text, Some(Vec::new()));
    }

    #[test]
    fn paths_are_cleaned_as_text() {
        for (path, clean) in
            [("/", "/"), ("a//b/./c", "/a/b/c"), ("/a/../../b", "/b"), ("../../etc", "/etc"), ("", "/")]
        {
            assert_eq!(InRoot::new(path).to_string(), clean, "{path}");
        }
    }

    #[test]
    fn below_compares_whole_components() {
        let proc = InRoot::new("/proc");
        assert!(proc.contains(&InRoot::new("/proc/sys")));
        assert!(!proc.contains(&InRoot::new("/process")));
        assert_eq!(InRoot::new("/proc/sys").strip_prefix(&proc), Some(InRoot::new("sys")));
    }
}
