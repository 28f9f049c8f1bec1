//! The source of a bind mount: a file or directory of the host, or one of the
//! container's own root, by whatever name of the host's it is reached.
//!
//! What lies below the root belongs to the image. A symbolic link there that the
//! host's paths were followed through would lead to the host's files, or in init's
//! mount namespace to the container's /proc before it is masked. So the walk to a
//! source stops at the root directory, which is known by device and inode and not
//! by name, and what is left of the path is looked up inside the root.

use super::bind_options;
use crate::error::{Context, Result};
use crate::path::kernel_fs::{PROC_SUPER_MAGIC, fs_magic};
use crate::path::{InRoot, RootFd};
use crate::plan::mounts::{Links, MountKind, MountPlan};
use crate::sys::fds::CloseBatch;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Symbolic links that one look-up may follow, as in the kernel.
const MAX_LINKS: u32 = 40;

#[derive(Debug)]
pub enum Source {
    /// Init opens it when its mount's turn comes.
    Deferred(SourceKind),
    /// A detached mount, with its options.
    Tree(OwnedFd),
    /// A path of the container's root, opened when the mounts before it are made.
    InRoot(InRoot),
    /// The text of a symbolic link that is made again in the container.
    Symlink(Vec<u8>),
}

/// What a source is known to be, which spares a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    File,
    Unknown,
}

impl Source {
    pub fn tree(&self) -> Option<&OwnedFd> {
        match self {
            Source::Tree(tree) => Some(tree),
            Source::Deferred(_) | Source::InRoot(_) | Source::Symlink(_) => None,
        }
    }

    pub fn into_tree(self) -> Option<OwnedFd> {
        match self {
            Source::Tree(tree) => Some(tree),
            Source::Deferred(_) | Source::InRoot(_) | Source::Symlink(_) => None,
        }
    }
}

/// The directory that `root.path` names, on the host.
#[derive(Debug, Clone, Default)]
pub struct HostRoot {
    /// Without symbolic links.
    path: PathBuf,
}

impl HostRoot {
    pub fn resolve(path: &Path) -> Result<Self> {
        let path = match open_no_symlinks(path, Links::default(), SourceKind::File) {
            Ok(_) => Ok(normalize(path)),
            Err(Errno::LOOP) => real_path(path),
            Err(errno) => Err(errno),
        }
        .doing(|| format!("root {}", path.display()))?;
        Ok(HostRoot { path })
    }

    /// Asked for only where a link is on the way to a source.
    fn identity(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::stat(&self.path).doing(|| format!("root {}", self.path.display()))?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

fn identity(fd: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// `path` without symbolic links, as the kernel has it.
fn real_path(path: &Path) -> rustix::io::Result<PathBuf> {
    path_of_fd(&rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn path_of_fd(place: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let name = rustix::fs::readlink(format!("/proc/self/fd/{}", place.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(name.into_bytes())))
}

/// What a path of the host leads to.
enum Resolved {
    Host(OwnedFd),
    InRoot(InRoot),
}

/// The source of a bind, None for other mounts. `mounted` is the container's root
/// once it is mounted on its place, which an overlay gives another identity.
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
    let place = match resolve(source, root, mounted, (*links, known)).doing(what)? {
        Resolved::InRoot(path) => return Ok(Some(Source::InRoot(path))),
        Resolved::Host(place) => place,
    };
    if let Some(text) = read_symlink_to_copy(&place, *links).doing(what)? {
        return Ok(Some(Source::Symlink(text)));
    }
    let tree = clone_of(&place, *recursive).doing(what)?;
    batch.add(place);
    bind_options::apply(mount, tree, in_user_namespace).map(|tree| Some(Source::Tree(tree)))
}

/// The text of the link at `place`, for crun's option `copy-symlink`.
pub fn read_symlink_to_copy(place: &OwnedFd, links: Links) -> rustix::io::Result<Option<Vec<u8>>> {
    if !links.copy || FileType::from_raw_mode(fstat(place)?.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    Ok(Some(rustix::fs::readlinkat(place, c"", Vec::new())?.into_bytes()))
}

/// A copy of the mount at `place`, attached nowhere.
fn clone_of(place: &OwnedFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(place, c"", flags)
}

fn resolve(
    source: &Path,
    root: &HostRoot,
    mounted: Option<&RootFd>,
    (links, known): (Links, SourceKind),
) -> Result<Resolved> {
    // Without symbolic links on the way the text is the real path: then only its
    // beginning can be the root's.
    match open_no_symlinks(source, links, known) {
        Ok(place) => match normalize(source).strip_prefix(&root.path) {
            Ok(rest) if !root.path.as_os_str().is_empty() => {
                Ok(Resolved::InRoot(InRoot::new(rest.as_os_str().as_bytes())))
            }
            _ => Ok(Resolved::Host(place)),
        },
        Err(Errno::LOOP) => {
            let mut ids = vec![root.identity()?];
            if let Some(mounted) = mounted {
                ids.push(identity(mounted).doing(|| "look at the container's root")?);
            }
            resolve_stepwise(source, &ids, links)
        }
        Err(errno) => Err(errno).doing(String::new),
    }
}

/// The same path without `..`, which may be read as text where nothing is a link.
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

fn open_no_symlinks(source: &Path, links: Links, known: SourceKind) -> rustix::io::Result<OwnedFd> {
    let flags =
        OFlags::PATH | OFlags::CLOEXEC | if links.follows_source() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let open = |flags| rustix::fs::openat2(CWD, source, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    // A directory is asked for first, for that mounts what autofs has there.
    match known {
        SourceKind::File => open(flags),
        SourceKind::Unknown => match open(flags | OFlags::DIRECTORY) {
            Err(Errno::NOTDIR) => open(flags),
            result => result,
        },
    }
}

/// Goes to `source` step by step, as the kernel would, and stops at the root.
fn resolve_stepwise(source: &Path, ids: &[(u64, u64)], links: Links) -> Result<Resolved> {
    let top = || rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut left = MAX_LINKS;
    let mut at = top().doing(|| "open /")?;
    // What is still to be gone, the next component last.
    let mut rest: Vec<OsString> = Vec::new();
    push_components(&mut rest, source.as_os_str());
    loop {
        let what = || format!("look up {}", source.display());
        if ids.contains(&identity(&at).doing(what)?) {
            match rest_in_root(&mut rest) {
                Some(path) => return Ok(Resolved::InRoot(path)),
                // `..` led out of the root again.
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
            // procfs has the object itself: there is no path to be gone.
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

fn push_components(rest: &mut Vec<OsString>, path: &OsStr) {
    let parts = path.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    rest.extend(parts.rev().map(|part| OsString::from_vec(part.to_vec())));
}

fn open_component(at: &OwnedFd, name: &OsStr, follow: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Whether a symbolic link is a magic one of procfs, as /proc/PID/fd/N.
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

/// What is left of a path at the root directory, as a path inside. None where its
/// text leads out again: `rest` is then what comes after that `..`.
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

/// An error where the source leads to nothing, on the host or in the root.
pub fn check_exists(source: &Path, root: &HostRoot, links: Links) -> Result<SourceKind> {
    let flags = if links.follows_source() { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    match rustix::fs::statat(CWD, source, flags) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(SourceKind::Unknown),
        Ok(_) => Ok(SourceKind::File),
        // A link of the image's means another place in the root than on the host.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            resolve(source, root, None, (links, SourceKind::Unknown)).map(|_| SourceKind::Unknown)
        }
        Err(errno) => Err(errno).doing(String::new),
    }
}

/// Whether the container's root lies below the source. As for [`check_exists`].
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
            Resolved::Host(place) => path_of_fd(&place).unwrap().display().to_string(),
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
