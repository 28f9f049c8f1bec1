//! The source of a bind mount: a file or directory of the host, or one in the container's
//! root file system, by whatever path of the host it is named.
//!
//! What lies below the root is the image's. If a source below it were looked up by the
//! host's path, a symbolic link of the image would lead to the host's files; and within
//! init's mount namespace to the container's /proc before its paths are masked. So the
//! look-up stops where it meets the root directory, which is recognized by device and
//! inode, and not by name; the rest of the path is looked up inside the root.

use super::attach::clone_mount;
use super::bind_options;
use crate::error::{Context, Result};
use crate::path::kernel_fs::{PROC_SUPER_MAGIC, fs_magic};
use crate::path::{InRoot, RootFd};
use crate::plan::mounts::{Links, MountKind, MountPlan};
use crate::sys::fds::CloseBatch;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// MAXSYMLINKS of the kernel, path_resolution(7).
const MAX_LINKS: u32 = 40;

/// The source of a bind mount, as far as it is opened.
#[derive(Debug)]
pub enum Source {
    /// Opened by init, just before it is mounted.
    Deferred(SourceKind),
    /// A detached mount with its options set.
    Tree(OwnedFd),
    /// A path in the container's root, opened once the mounts before it are made.
    InRoot(InRoot),
    /// The target of a symbolic link that is created anew in the container (`copy-symlink`).
    Symlink(Vec<u8>),
}

/// The known file type of a source, which saves an openat2(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Not a directory.
    File,
    /// Not looked at, or a directory.
    Unknown,
}

impl Source {
    /// The mount, where it is one.
    pub fn tree(&self) -> Option<&OwnedFd> {
        match self {
            Source::Tree(tree) => Some(tree),
            Source::Deferred(_) | Source::InRoot(_) | Source::Symlink(_) => None,
        }
    }

    /// The mount, where it is one.
    pub fn into_tree(self) -> Option<OwnedFd> {
        match self {
            Source::Tree(tree) => Some(tree),
            Source::Deferred(_) | Source::InRoot(_) | Source::Symlink(_) => None,
        }
    }
}

/// The host's directory that `root.path` of the config names.
#[derive(Debug, Clone, Default)]
pub struct HostRoot {
    /// Absolute, without symbolic links.
    path: PathBuf,
}

impl HostRoot {
    /// Resolves `path`. Errors: ENOENT and the like of openat2(2).
    pub fn resolve(path: &Path) -> Result<Self> {
        let path = match open_no_symlinks(path, Links::default(), SourceKind::File) {
            Ok(_) => Ok(normalize(path)),
            Err(Errno::LOOP) => real_path(path),
            Err(errno) => Err(errno),
        }
        .doing(|| format!("root {}", path.display()))?;
        Ok(HostRoot { path })
    }

    /// Device and inode; stat(2) only where a symbolic link is on the way to a source.
    fn identity(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::stat(&self.path).doing(|| format!("root {}", self.path.display()))?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

fn identity(fd: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// `path` without symbolic links, by /proc/self/fd.
fn real_path(path: &Path) -> rustix::io::Result<PathBuf> {
    path_of_fd(&rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The path of an open file, by readlink(2) of /proc/self/fd/N.
fn path_of_fd(source_fd: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let name = rustix::fs::readlink(format!("/proc/self/fd/{}", source_fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(name.into_bytes())))
}

/// What a path of the host resolves to.
enum Resolved {
    Host(OwnedFd),
    InRoot(InRoot),
}

/// Opens the source of a bind mount; None for mounts of another kind. `mounted` is the
/// container's root once it is attached: an overlay there has another device and inode.
pub fn bind_source(
    mount: &MountPlan,
    root: &HostRoot,
    mounted: Option<&RootFd>,
    (in_user_namespace, known): (bool, SourceKind),
    batch: &mut CloseBatch,
) -> Result<Option<Source>> {
    let MountKind::Bind { source, recursive, inside, links } = &mount.kind else { return Ok(None) };
    if let Some(path) = inside {
        return Ok(Some(Source::InRoot(path.clone())));
    }
    let what = || format!("bind mount source {}", source.display());
    let source_fd = match resolve(source, root, mounted, (*links, known)).doing(what)? {
        Resolved::InRoot(path) => return Ok(Some(Source::InRoot(path))),
        Resolved::Host(source_fd) => source_fd,
    };
    if let Some(text) = read_symlink_to_copy(&source_fd, *links).doing(what)? {
        return Ok(Some(Source::Symlink(text)));
    }
    let tree = clone_mount(&source_fd, *recursive).doing(what)?;
    batch.add(source_fd);
    bind_options::apply(mount, tree, in_user_namespace).map(|tree| Some(Source::Tree(tree)))
}

/// The target of the symbolic link `source_fd`, for crun's option `copy-symlink`. None without
/// the option, or where it is no link.
pub fn read_symlink_to_copy(source_fd: &OwnedFd, links: Links) -> rustix::io::Result<Option<Vec<u8>>> {
    if !links.copy || FileType::from_raw_mode(fstat(source_fd)?.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    Ok(Some(rustix::fs::readlinkat(source_fd, c"", Vec::new())?.into_bytes()))
}

/// Resolves a source to the host, or to a path in the root.
fn resolve(
    source: &Path,
    root: &HostRoot,
    mounted: Option<&RootFd>,
    (links, known): (Links, SourceKind),
) -> Result<Resolved> {
    // Without symbolic links the normalized text is the real path: it is in the root
    // exactly if it begins with the root's.
    match open_no_symlinks(source, links, known) {
        Ok(source_fd) => match normalize(source).strip_prefix(&root.path) {
            Ok(rest) if !root.path.as_os_str().is_empty() => {
                Ok(Resolved::InRoot(InRoot::new(rest.as_os_str().as_bytes())))
            }
            _ => Ok(Resolved::Host(source_fd)),
        },
        Err(Errno::LOOP) => {
            let mut ids = vec![root.identity()?];
            if let Some(mounted) = mounted {
                ids.push(identity(mounted).doing(|| "stat the container's root")?);
            }
            resolve_stepwise(source, &ids, links)
        }
        Err(errno) => Err(errno).doing(String::new),
    }
}

/// Removes `..` lexically, which is right for a path without symbolic links.
fn normalize(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}

/// Opens a source with RESOLVE_NO_SYMLINKS: ELOOP where a link is on the way.
fn open_no_symlinks(source: &Path, links: Links, known: SourceKind) -> rustix::io::Result<OwnedFd> {
    let flags =
        OFlags::PATH | OFlags::CLOEXEC | if links.follows_source() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let open = |flags| rustix::fs::openat2(CWD, source, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    // O_DIRECTORY first: it triggers an automount, which O_PATH alone does not (open(2)).
    match known {
        SourceKind::File => open(flags),
        SourceKind::Unknown => match open(flags | OFlags::DIRECTORY) {
            Err(Errno::NOTDIR) => open(flags),
            result => result,
        },
    }
}

/// Resolves `source` component by component, as path_resolution(7), until it meets a
/// directory of `ids` (the root), or its end.
fn resolve_stepwise(source: &Path, ids: &[(u64, u64)], links: Links) -> Result<Resolved> {
    let top = || rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut left = MAX_LINKS;
    let mut at = top().doing(|| "open /")?;
    // Components left, the next one last.
    let mut rest: Vec<OsString> = Vec::new();
    push_components(&mut rest, source.as_os_str());
    loop {
        let what = || format!("look up {}", source.display());
        if ids.contains(&identity(&at).doing(what)?) {
            match rest_in_root(&mut rest) {
                Some(path) => return Ok(Resolved::InRoot(path)),
                // `..` leads out of the root again.
                None => at = open_component(&at, OsStr::new(".."), false).doing(what)?,
            }
            continue;
        }
        let Some(name) = rest.pop() else { return Ok(Resolved::Host(at)) };
        let next = open_component(&at, &name, false).doing(what)?;
        if FileType::from_raw_mode(fstat(&next).doing(what)?.st_mode) != FileType::Symlink {
            at = next;
            continue;
        }
        if rest.is_empty() && !links.follows_source() {
            return Ok(Resolved::Host(next));
        }
        let Some(fewer) = left.checked_sub(1) else { return Err(Errno::LOOP).doing(what) };
        left = fewer;
        if is_magic_link(&at, &name).doing(what)? {
            // The link of procfs leads to the object itself, not to a path: follow it.
            at = open_component(&at, &name, true).doing(what)?;
            continue;
        }
        let text = rustix::fs::readlinkat(&next, c"", Vec::new()).doing(what)?.into_bytes();
        if text.starts_with(b"/") {
            at = top().doing(|| "open /")?;
        }
        push_components(&mut rest, OsStr::from_bytes(&text));
    }
}

/// Pushes the components of `path`, the first one last.
fn push_components(rest: &mut Vec<OsString>, path: &OsStr) {
    let parts = path.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    rest.extend(parts.rev().map(|part| OsString::from_vec(part.to_vec())));
}

/// Opens one component with O_PATH.
fn open_component(at: &OwnedFd, name: &OsStr, follow: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Whether `name`, a symbolic link, is a magic link of procfs, such as /proc/PID/fd/N.
fn is_magic_link(at: &OwnedFd, name: &OsStr) -> rustix::io::Result<bool> {
    if fs_magic(at)? != PROC_SUPER_MAGIC {
        return Ok(false);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(at, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Err(Errno::LOOP) => Ok(true),
        Err(errno) => Err(errno),
        Ok(_) => Ok(false),
    }
}

/// The components left at the root directory, as a path in it. None where they lead out
/// by `..`: `rest` is then what follows that.
fn rest_in_root(rest: &mut Vec<OsString>) -> Option<InRoot> {
    let mut depth = 0usize;
    for number in (0..rest.len()).rev() {
        if rest[number] != ".." {
            depth += 1;
        } else if let Some(less) = depth.checked_sub(1) {
            depth = less;
        } else {
            rest.truncate(number);
            return None;
        }
    }
    let parts: Vec<&[u8]> = rest.iter().rev().map(|part| part.as_bytes()).collect();
    Some(InRoot::new(parts.join(&b'/')))
}

/// Checks that a source exists, on the host or in the root, and returns its type.
pub fn check_exists(source: &Path, root: &HostRoot, links: Links) -> Result<SourceKind> {
    let flags = if links.follows_source() { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    match rustix::fs::statat(CWD, source, flags) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(SourceKind::Unknown),
        Ok(_) => Ok(SourceKind::File),
        // On the host a link of the image's may dangle, and in the root lead to a file.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            resolve(source, root, None, (links, SourceKind::Unknown)).map(|_| SourceKind::Unknown)
        }
        Err(errno) => Err(errno).doing(String::new),
    }
}

/// Whether the container's root is `source` or below it. Errors: as for [`check_exists`].
pub fn contains_root(source: &Path, root: &HostRoot) -> Result<bool> {
    match real_path(source) {
        Ok(source) => Ok(root.path.starts_with(source)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            resolve(source, root, None, (Links::default(), SourceKind::Unknown)).map(|_| false)
        }
        Err(errno) => Err(errno).doing(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("firn-bind-source-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("rootfs/dir")).unwrap();
        std::fs::create_dir_all(path.join("other")).unwrap();
        path
    }

    fn found(source: &Path, root: &Path) -> String {
        let root = HostRoot::resolve(root).unwrap();
        match resolve(source, &root, None, (Links::default(), SourceKind::Unknown)).unwrap() {
            Resolved::InRoot(path) => format!("inside {path}"),
            Resolved::Host(source_fd) => path_of_fd(&source_fd).unwrap().display().to_string(),
        }
    }

    #[test]
    fn a_source_below_the_root_is_inside_by_whatever_name_it_has() {
        let top = scratch("alias");
        let root = top.join("rootfs");
        std::os::unix::fs::symlink(&root, top.join("alias")).unwrap();
        std::os::unix::fs::symlink("/proc", root.join("data")).unwrap();
        std::os::unix::fs::symlink(top.join("other"), top.join("elsewhere")).unwrap();
        for (source, where_) in [
            (root.join("dir"), "inside /dir".to_owned()),
            (top.join("alias/dir"), "inside /dir".into()),
            (top.join("alias/data/sys"), "inside /data/sys".into()),
            (top.join("alias"), "inside /".into()),
            (top.join("alias/dir/../data"), "inside /data".into()),
            (root.join("../other"), top.join("other").display().to_string()),
            (top.join("other/../rootfs/dir"), "inside /dir".to_owned()),
            (top.join("elsewhere"), top.join("other").display().to_string()),
            (top.join("alias/../other"), top.join("other").display().to_string()),
            (top.join("alias/x/../../elsewhere"), top.join("other").display().to_string()),
        ] {
            assert_eq!(found(&source, &root), where_, "{}", source.display());
        }
        std::fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn a_magic_link_leads_to_the_object_itself() {
        let top = scratch("magic");
        let root = top.join("rootfs");
        let dir = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let source = PathBuf::from(format!("/proc/self/fd/{}/dir", dir.as_raw_fd()));
        assert_eq!(found(&source, &root), "inside /dir");
        std::fs::remove_dir_all(&top).unwrap();
    }
}
