//! Extracts a layer's tar into an empty directory, in the form of overlayfs: whiteouts become
//! character devices 0:0, opaque whiteouts an attribute (image-spec, "layer.md").
//!
//! The archive is hostile. Every path is looked up from the layer's directory by openat2(2) with
//! RESOLVE_IN_ROOT, so that neither `..` nor a symbolic link of the layer leads out of it; a last
//! name is never followed, every file is new (O_EXCL), and attributes of overlayfs in the archive are
//! dropped: a layer could otherwise redirect into other layers.
//!
//! Directories have mode 0700 until everything is in them, and get their owner, attributes, mode and
//! times last: a default ACL or a setgid bit would be inherited by what is made in them.

use super::entry::{Attributes, Kind, LayerEntry, LayerPath};
use super::error::ApplyError;
use super::metadata::{Made, drop_default_acl, set_entry, set_file, set_open, take_over};
use super::whiteout::Marks;
use super::write::write_pieces;
use crate::tar::read::TarReader;
use crate::tar::sparse::SparseMap;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, makedev};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// The prefix of a whiteout's name.
const WHITEOUT: &[u8] = b".wh.";
/// The name of an opaque whiteout.
const OPAQUE: &[u8] = b".wh..wh..opq";
const BUFFER: usize = 256 << 10;
/// How often a look-up is made that renames elsewhere disturb.
const ATTEMPTS: usize = 10_000;

/// The extraction of one layer. The process has the umask 0, and user and group 0.
pub(crate) struct Extraction<'a> {
    top: BorrowedFd<'a>,
    marks: Marks,
    /// Entries at most.
    limit: u64,
    entries: u64,
    /// What the directories get in the end; none for those that are only on the way to an entry.
    directories: BTreeMap<LayerPath, Option<Attributes>>,
    /// The directory of the last entry: the next one is often in the same.
    last: Option<(LayerPath, Rc<OwnedFd>)>,
    buffer: Vec<u8>,
}

/// Where an entry is made.
struct Place<'a> {
    directory: Rc<OwnedFd>,
    name: &'a OsStr,
    path: &'a LayerPath,
}

impl<'a> Extraction<'a> {
    /// Into the empty directory `top`, at most `limit` entries.
    pub(crate) fn new(top: BorrowedFd<'a>, limit: u64, marks: Marks) -> Self {
        Self { top, marks, limit, entries: 0, directories: BTreeMap::new(), last: None, buffer: vec![0; BUFFER] }
    }

    /// Extracts a whole archive, and leaves its bytes after the end marker unread. The directories that
    /// have no entry of their own: applied to a root that has them, they would stay as they are.
    pub(crate) fn run(mut self, archive: impl Read) -> Result<Vec<LayerPath>, ApplyError> {
        take_over(self.top).and_then(|()| drop_default_acl(self.top)).map_err(failed(&LayerPath::root()))?;
        self.directories.insert(LayerPath::root(), None);
        let mut archive = TarReader::new(archive);
        while let Some(member) = archive.next_member()? {
            self.entries += 1;
            if self.entries > self.limit {
                return Err(ApplyError::TooManyEntries(self.limit));
            }
            let entry = LayerEntry::new(&member)?;
            self.entry(&entry, &member.map, &mut archive)?;
        }
        self.finish_directories()
    }

    /// The deepest first, in case that one is closed to us when it has its mode.
    fn finish_directories(&mut self) -> Result<Vec<LayerPath>, ApplyError> {
        let mut implicit = Vec::new();
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = self.open(&path, flags).map_err(failed(&path))?;
            set_open(&directory, &attributes.clone().unwrap_or_else(default_attributes), &path.to_path())?;
            if attributes.is_none() {
                implicit.push(path);
            }
        }
        Ok(implicit)
    }

    fn entry(&mut self, entry: &LayerEntry, map: &SparseMap, data: &mut impl Read) -> Result<(), ApplyError> {
        let refused = |reason| Err(ApplyError::Refused { path: entry.path.to_path(), reason });
        let Some((parent, name)) = entry.path.split() else {
            if entry.kind != Kind::Directory {
                return refused("the root of a layer is a directory");
            }
            self.directories.insert(entry.path.clone(), Some(entry.attributes.clone()));
            return Ok(());
        };
        let directory = self.directory(&parent).map_err(failed(&entry.path))?;
        let place = Place { directory, name, path: &entry.path };
        match name.as_bytes() {
            OPAQUE => self.mark_opaque(&place.directory).map_err(failed(&entry.path)),
            name => match name.strip_prefix(WHITEOUT) {
                Some(b"" | b"." | b"..") => refused("a whiteout without a name"),
                // .wh..wh.plnk and its like belong to aufs.
                Some(hidden) if hidden.starts_with(WHITEOUT) => Ok(()),
                Some(hidden) => self.whiteout(&place.directory, OsStr::from_bytes(hidden)).map_err(failed(&entry.path)),
                None => self.file(&place, entry, map, data),
            },
        }
    }

    fn file(
        &mut self,
        place: &Place<'_>,
        entry: &LayerEntry,
        map: &SparseMap,
        data: &mut impl Read,
    ) -> Result<(), ApplyError> {
        let path = || entry.path.to_path();
        match &entry.kind {
            Kind::Directory => {
                self.make_directory(place)?;
                self.directories.insert(entry.path.clone(), Some(entry.attributes.clone()));
                Ok(())
            }
            Kind::HardLink { target } => self.hard_link(target, place),
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = Made::for_file(&entry.attributes);
                let mode = made.mode();
                let file = self.make(place, |directory, name| rustix::fs::openat(directory, name, flags, mode))?;
                write_pieces(&file, map, data, &mut self.buffer).map_err(failed(&entry.path))?;
                set_file(&file, &entry.attributes, made, &path())
            }
            Kind::Symlink { target } => {
                self.make(place, |directory, name| rustix::fs::symlinkat(target, directory, name))?;
                set_entry(place.directory.as_fd(), place.name, &entry.attributes, None, &path())
            }
            // Of a device nobody but root of the host can make a node (mknod(2)); podman leaves them out too.
            Kind::Special { kind, .. } if self.marks == Marks::User && *kind != FileType::Fifo => Ok(()),
            Kind::Special { kind, major, minor } => {
                let made = Made::for_file(&entry.attributes);
                let (mode, device) = (made.mode(), makedev(*major, *minor));
                self.make(place, |directory, name| rustix::fs::mknodat(directory, name, *kind, mode, device))?;
                set_entry(place.directory.as_fd(), place.name, &entry.attributes, Some(made), &path())
            }
        }
    }

    /// Makes a file that must be new. An earlier entry of the same name gives way, as the later one
    /// counts; a directory does not.
    fn make<T>(
        &mut self,
        place: &Place<'_>,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, ApplyError> {
        let what = |errno: Errno| failed(place.path)(errno.into());
        match make(place.directory.as_fd(), place.name) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(what),
        }
        if file_type(&stat(&place.directory, place.name).map_err(what)?) == FileType::Directory {
            let reason = "an earlier entry of the layer is a directory there";
            return Err(ApplyError::Refused { path: place.path.to_path(), reason });
        }
        self.remove(&place.directory, place.name).map_err(what)?;
        make(place.directory.as_fd(), place.name).map_err(what)
    }

    /// Makes a directory, if an earlier entry has not. It replaces anything else; in place of a
    /// whiteout it is opaque, for what lower layers have below the name stays hidden.
    fn make_directory(&mut self, place: &Place<'_>) -> Result<(), ApplyError> {
        let mut make = || -> io::Result<()> {
            match rustix::fs::mkdirat(&place.directory, place.name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                result => return Ok(result?),
            }
            let there = stat(&place.directory, place.name)?;
            if file_type(&there) == FileType::Directory {
                return Ok(());
            }
            self.remove(&place.directory, place.name)?;
            rustix::fs::mkdirat(&place.directory, place.name, Mode::RWXU)?;
            if is_whiteout(&there) { self.mark_opaque(&open_directory(&place.directory, place.name)?) } else { Ok(()) }
        };
        make().map_err(failed(place.path))
    }

    fn remove(&mut self, directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
        // It may be a symbolic link, through which the last directory was found.
        self.last = None;
        rustix::fs::unlinkat(directory, name, AtFlags::empty())
    }

    /// A second name for a file of this layer; never for what a symbolic link leads to.
    fn hard_link(&mut self, target: &LayerPath, place: &Place<'_>) -> Result<(), ApplyError> {
        let refused = |reason| ApplyError::Refused { path: place.path.to_path(), reason };
        let outside = || ApplyError::LinkOutside { path: place.path.to_path(), target: target.to_path() };
        let Some((parent, name)) = target.split() else { return Err(refused("a hard link to the root")) };
        if target == place.path {
            return Err(refused("a hard link to itself"));
        }
        let find = || -> io::Result<_> {
            let parent = self.open(&parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
            let there = stat(&parent, name)?;
            Ok((parent, there))
        };
        let parent = match find() {
            Ok((_, there)) if is_whiteout(&there) => return Err(outside()),
            Ok((_, there)) if file_type(&there) == FileType::Directory => {
                return Err(refused("a hard link to a directory"));
            }
            Ok((parent, _)) => parent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(outside()),
            Err(error) => return Err(failed(place.path)(error)),
        };
        self.make(place, |directory, new| rustix::fs::linkat(&parent, name, directory, new, AtFlags::empty()))
    }

    /// The directory at `path`; what is missing of it is made, mode 0755, as by tar(1).
    fn directory(&mut self, path: &LayerPath) -> io::Result<Rc<OwnedFd>> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(directory));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let found = match self.open(path, flags) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.make_directories(path)?;
                self.open(path, flags)?
            }
            result => result?,
        };
        let found = Rc::new(found);
        self.last = Some((path.clone(), Rc::clone(&found)));
        Ok(found)
    }

    fn make_directories(&mut self, path: &LayerPath) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = Rc::new(self.open(&LayerPath::root(), flags)?);
        for prefix in path.prefixes() {
            let Some((_, name)) = prefix.split() else { continue };
            if let Ok(found) = self.open(&prefix, flags) {
                directory = Rc::new(found);
                continue;
            }
            if stat(&directory, name).is_ok_and(|there| !is_whiteout(&there)) {
                return Err(io::Error::other("what lies above it in the layer is no directory"));
            }
            let place = Place { directory: Rc::clone(&directory), name, path: &prefix };
            self.make_directory(&place).map_err(io::Error::other)?;
            self.directories.entry(prefix.clone()).or_default();
            directory = Rc::new(self.open(&prefix, flags)?);
        }
        Ok(())
    }

    /// Hides `name` of lower layers, but not what this layer has.
    fn whiteout(&self, directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        match file_type(&stat(directory, name)?) {
            FileType::Directory => self.mark_opaque(&open_directory(directory, name)?),
            _ => Ok(()),
        }
    }

    fn mark_opaque(&self, directory: &OwnedFd) -> io::Result<()> {
        // By its magic link (symlink(7)), as the descriptor is one of O_PATH.
        let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let name = self.marks.opaque();
        rustix::fs::setxattr(&*link, name, b"y", XattrFlags::empty()).map_err(|errno| match errno {
            Errno::PERM => io::Error::other(format!("{name} needs CAP_SYS_ADMIN: unpack as root of the host")),
            Errno::OPNOTSUPP => io::Error::other(format!("{name}: the file system has no such attributes")),
            errno => io::Error::other(format!("{name}: {errno}")),
        })
    }

    /// Opens a directory of the layer. Symbolic links on the way are followed within the layer.
    fn open(&self, path: &LayerPath, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        Ok(repeat(|| rustix::fs::openat2(self.top, path.relative(), flags, Mode::empty(), resolve))?)
    }
}

/// Repeats a look-up on EAGAIN: a rename or mount anywhere may have raced with a `..` of a link
/// (openat2(2)). Not without end, for somebody could rename without end.
fn repeat<T>(look_up: impl Fn() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    let mut results = std::iter::repeat_with(look_up).take(ATTEMPTS);
    results.find(|result| !matches!(result, Err(Errno::AGAIN))).unwrap_or(Err(Errno::AGAIN))
}

/// Of a directory that has no entry of its own in the archive.
fn default_attributes() -> Attributes {
    Attributes { mode: 0o755, ..Attributes::default() }
}

fn open_directory(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn stat(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// No entry of an archive makes such a device.
fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn failed(path: &LayerPath) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_path();
    move |source| ApplyError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_races_with_a_rename_is_looked_up_again() {
        let tries = std::cell::Cell::new(0);
        let look_up = |wanted| {
            tries.set(tries.get() + 1);
            if tries.get() < wanted { Err(Errno::AGAIN) } else { Err::<(), _>(Errno::NOENT) }
        };
        assert_eq!(repeat(|| look_up(100)), Err(Errno::NOENT));
        assert_eq!((repeat(|| look_up(usize::MAX)), tries.get()), (Err(Errno::AGAIN), 100 + ATTEMPTS));
    }

    #[test]
    fn entries_are_counted() {
        let place = std::env::temp_dir().join(format!("firn-apply-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let top = std::fs::File::open(&place).unwrap();
        // Ten directories `.`, as old archives have them: only a slash says so.
        let mut block = [0; 512];
        block[..2].copy_from_slice(b"./");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let archive = block.repeat(10);
        assert!(Extraction::new(top.as_fd(), 10, Marks::Trusted).run(&archive[..]).is_ok());
        let error = Extraction::new(top.as_fd(), 9, Marks::Trusted).run(&archive[..]).unwrap_err();
        assert!(matches!(error, ApplyError::TooManyEntries(9)), "{error}");
        std::fs::remove_dir_all(&place).unwrap();
    }
}
