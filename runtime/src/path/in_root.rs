//! A path inside the container's root, and the only ways to use one. There is
//! no `AsRef<Path>`: what lies under the root belongs to the attacker, so every
//! look-up goes through openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) on the
//! root's descriptor (CVE-2021-30465, CVE-2019-18837, CVE-2024-45310).

use crate::error::{Context, Error, Result};
use crate::sys::fds::CloseBatch;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// How many symbolic links one look-up may follow, as in the kernel.
const MAX_LINKS: u32 = 40;

/// A cleaned path relative to a container's root: no leading slash, no empty,
/// `.` or `..` component. Empty for the root itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InRoot(Vec<u8>);

impl InRoot {
    /// Cleans `path` as text, as runc does with what config.json says: `..`
    /// takes back the component before it and stops at the root.
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

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// `self` or something below it.
    pub fn contains(&self, other: &InRoot) -> bool {
        self.is_root()
            || other.0 == self.0
            || (other.0.starts_with(&self.0) && other.0.get(self.0.len()) == Some(&b'/'))
    }

    /// What is left of `self` below `base`.
    pub fn strip_prefix(&self, base: &InRoot) -> Option<InRoot> {
        base.contains(self).then(|| InRoot::new(&self.0[base.0.len()..]))
    }

    pub fn join(&self, name: impl AsRef<[u8]>) -> InRoot {
        InRoot::new([&self.0, name.as_ref()].join(&b'/'))
    }

    /// The directory above, and the last component (empty for the root).
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

/// As the container's processes would write it.
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

/// What to make where a look-up finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    Directory,
    File,
}

/// Whether something may be made in a directory.
pub type DirectoryCheck<'a> = &'a dyn Fn(&OwnedFd) -> Result<()>;

impl RootFd {
    pub fn new(fd: OwnedFd) -> Self {
        RootFd(fd)
    }

    /// Opens `path` with `flags` as the container would see it.
    pub fn open(&self, path: &InRoot, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.open_resolve(path, flags, ResolveFlags::empty())
    }

    /// As [`RootFd::open`], but no component may be a symbolic link.
    pub fn open_no_symlinks(&self, path: &InRoot, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.open_resolve(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    fn open_resolve(&self, path: &InRoot, flags: OFlags, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        super::openat2_retry(&self.0, path.as_os_str(), flags, resolve)
    }

    /// Opens `path` as a place to mount on, and makes it where it is missing.
    pub fn open_or_create(&self, path: &InRoot, missing: IfMissing, mode: Mode) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.create(path, missing, mode, &|_| Ok(()), MAX_LINKS),
            result => result.doing(|| format!("open {path} in the container's root")),
        }
    }

    /// As [`RootFd::open_or_create`] for a directory in which something is to be made:
    /// `check` is asked about it, and about each in which one above it is made.
    pub fn open_or_create_directory(&self, path: &InRoot, check: DirectoryCheck<'_>) -> Result<OwnedFd> {
        let mode = Mode::from_raw_mode(0o755);
        let directory = match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => self.create(path, IfMissing::Directory, mode, check, MAX_LINKS)?,
            result => result.doing(|| format!("open {path} in the container's root"))?,
        };
        check(&directory).doing(|| format!("use {path}"))?;
        Ok(directory)
    }

    /// Makes `path` in a directory that is reached without symbolic links. None
    /// where that is not so, or something is there already.
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
            Err(errno) => return Err(errno).doing(|| format!("make {path} in the container's root")),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty());
        batch.add(parent);
        made.map(Some).doing(|| format!("open {path} in the container's root"))
    }

    /// Makes `path` and the directories above it. A symbolic link that leads
    /// nowhere is followed inside the root, as in an image whose resolv.conf
    /// points into an empty /run.
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
        check(&parent).doing(|| format!("make {path}"))?;
        match create_entry(&parent, name, missing, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return self.create_through_symlink(path, &above, &parent, name, (missing, mode, check, links));
            }
            Err(errno) => return Err(errno).doing(|| format!("make {path} in the container's root")),
        }
        self.open(path, OFlags::PATH).doing(|| format!("open {path} in the container's root"))
    }

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
            // Somebody else made it in between: it is there now.
            Err(Errno::INVAL) => self.open(path, OFlags::PATH).doing(|| format!("open {path} in the container's root")),
            Err(errno) => Err(errno).doing(|| format!("follow {path} in the container's root")),
        }
    }

    /// Reads a file of the container, `limit` bytes at most. None if there is none.
    pub fn read_file(&self, path: &InRoot, limit: u64) -> Result<Option<Vec<u8>>> {
        let what = || format!("open {path} in the container's root");
        // NONBLOCK, for a fifo in a file's place would block the open for ever.
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
        // No more than that: files of procfs, to which a link may lead, have no size
        // and any length.
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
