//! Path look-up in the root that layers and a closure make, without mounting it: names are looked
//! up as overlayfs does, and symbolic links are followed inside the root.
//!
//! Each look-up is of one name in an open directory and follows no link (openat2(2),
//! RESOLVE_NO_SYMLINKS), so that a layer whose files are replaced by links meanwhile can't lead it
//! out of the layer.

use crate::layer::whiteout;
use crate::source::nix::store_path::{LOGICAL_STORE, StorePath};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A root.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Highest first.
    layers: Vec<Node>,
    store: Option<StoreView>,
}

/// The store with a closure.
#[derive(Debug)]
struct StoreView {
    dir: Node,
    /// Base names of the store paths that are visible.
    names: BTreeSet<OsString>,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file, and whether it can be executed.
    File { file: Node, executable: bool },
    /// A directory: its topmost one of the layers; none for those above the store.
    Directory(Option<Node>),
    /// A socket, device or pipe.
    Special,
    /// Nothing; the path of the name that is missing, in the root.
    Missing(PathBuf),
}

/// Why a path could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("look up {0}: a file system is mounted there, which an overlay of the layer does not show: unmount it")]
    Mount(PathBuf),
    #[error("look up {0}: too many symbolic links")]
    TooManyLinks(PathBuf),
}

/// A file or directory on the host, by an O_PATH descriptor.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// For messages only.
    pub(crate) path: PathBuf,
    fd: Rc<OwnedFd>,
}

/// A directory of the root.
#[derive(Debug, Clone)]
struct MergedDir {
    /// Its path in the root.
    inside: PathBuf,
    /// The directories of layers that it is merged from, highest first.
    parts: Vec<Node>,
}

/// An entry of a directory of the root.
enum Entry {
    Missing,
    Link(PathBuf),
    Directory(MergedDir),
    Other(Node, Stat),
}

impl Node {
    /// Opens a directory, following links.
    fn open_directory(path: &Path) -> Result<Self, ViewError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let fd = fd.map_err(|errno| ViewError::Read { path: path.to_owned(), source: errno.into() })?;
        Ok(Self { path: path.to_owned(), fd: Rc::new(fd) })
    }

    /// The entry `name` of this directory, not followed if it is a link.
    fn entry(&self, name: &OsStr) -> Result<Option<(Node, Stat)>, ViewError> {
        let path = self.path.join(name);
        let failed = |errno: Errno| match errno {
            // Overlayfs shows a layer without what is mounted in it.
            Errno::XDEV => ViewError::Mount(path.clone()),
            errno => ViewError::Read { path: path.clone(), source: errno.into() },
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match rustix::fs::openat2(&*self.fd, name, flags, Mode::empty(), resolve) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd).map_err(failed)?;
                Ok(Some((Node { path, fd: Rc::new(fd) }, stat)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Mode, owner and group.
    pub(crate) fn owner(&self) -> io::Result<(u32, u32, u32)> {
        let stat = rustix::fs::fstat(&*self.fd)?;
        Ok((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid))
    }

    /// Opens the file for reading: the one that was found, also if its name is another one's now.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(self.magic_link())
    }

    /// The path of its magic link (symlink(7)), for system calls that take no O_PATH descriptor.
    fn magic_link(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

impl View {
    /// The root of `layers`, lowest first, and of the store at a directory, of which only the given
    /// store paths are visible.
    pub(crate) fn open(layers: &[PathBuf], closure: Option<(&Path, &[StorePath])>) -> Result<Self, ViewError> {
        let store = |(dir, paths): (&Path, &[StorePath])| {
            let names = paths.iter().map(|path| path.base().into()).collect();
            Ok(StoreView { dir: Node::open_directory(dir)?, names })
        };
        Ok(Self {
            layers: layers.iter().rev().map(|layer| Node::open_directory(layer)).collect::<Result<_, _>>()?,
            store: closure.map(store).transpose()?,
        })
    }

    /// Looks up a path in the root.
    pub(crate) fn find(&self, path: &Path) -> Result<Found, ViewError> {
        let mut todo: VecDeque<OsString> = path_components(path).collect();
        let mut at = vec![MergedDir { inside: "/".into(), parts: self.layers.clone() }];
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                if at.len() > 1 {
                    at.pop();
                }
                continue;
            }
            let Some(here) = at.last() else { break };
            match self.lookup(here, &name)? {
                Entry::Missing => return Ok(Found::Missing(here.inside.join(name))),
                Entry::Directory(merged) => at.push(merged),
                Entry::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ViewError::TooManyLinks(path.to_owned()));
                    }
                    if target.is_absolute() {
                        at.truncate(1);
                    }
                    for name in path_components(&target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(name);
                    }
                }
                Entry::Other(file, stat) if todo.is_empty() => return Ok(found_file(file, &stat)),
                Entry::Other(..) => return Ok(Found::Missing(here.inside.join(name))),
            }
        }
        Ok(Found::Directory(at.pop().and_then(|merged| merged.parts.into_iter().next())))
    }

    fn lookup(&self, here: &MergedDir, name: &OsStr) -> Result<Entry, ViewError> {
        let inside = here.inside.join(name);
        if let Some(store) = &self.store {
            if here.inside == Path::new(LOGICAL_STORE) {
                // Only the closure is visible, also where a layer has other store paths.
                return if store.names.contains(name) {
                    merge(inside, std::slice::from_ref(&store.dir), name)
                } else {
                    Ok(Entry::Missing)
                };
            }
            if inside == Path::new(LOGICAL_STORE) {
                return Ok(Entry::Directory(MergedDir { inside, parts: Vec::new() }));
            }
            if inside == Path::new("/nix") {
                return Ok(match merge(inside.clone(), &here.parts, name)? {
                    Entry::Missing => Entry::Directory(MergedDir { inside, parts: Vec::new() }),
                    node => node,
                });
            }
        }
        merge(inside, &here.parts, name)
    }
}

/// The entry `name` of a directory that is merged from `parts`, highest first, as in overlayfs.
fn merge(inside: PathBuf, parts: &[Node], name: &OsStr) -> Result<Entry, ViewError> {
    let mut merged = Vec::new();
    for part in parts {
        let Some((node, stat)) = part.entry(name)? else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            if merged.is_empty() && !whiteout::is_whiteout(&node.magic_link(), &stat, &part.magic_link()) {
                return Ok(if kind == FileType::Symlink {
                    Entry::Link(read_link(&node)?)
                } else {
                    Entry::Other(node, stat)
                });
            }
            break;
        }
        let opaque = whiteout::is_opaque(&node.magic_link());
        merged.push(node);
        if opaque {
            break;
        }
    }
    Ok(if merged.is_empty() { Entry::Missing } else { Entry::Directory(MergedDir { inside, parts: merged }) })
}

fn read_link(link: &Node) -> Result<PathBuf, ViewError> {
    let text = rustix::fs::readlinkat(&*link.fd, "", Vec::new());
    let text = text.map_err(|errno| ViewError::Read { path: link.path.clone(), source: errno.into() })?;
    Ok(OsString::from_vec(text.into_bytes()).into())
}

fn found_file(file: Node, stat: &Stat) -> Found {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Found::Special;
    }
    Found::File { file, executable: stat.st_mode & 0o111 != 0 }
}

/// The names and `..` in a path.
fn path_components(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("firn-view-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            Self(dir)
        }
        fn dir(&self, path: &str) -> PathBuf {
            let dir = self.0.join(path);
            std::fs::create_dir_all(&dir).expect("make directory");
            dir
        }
        fn file(&self, path: &str, mode: u32) {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().expect("parent")).expect("make directory");
            std::fs::write(&file, "").expect("write");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("chmod");
        }
        fn link(&self, target: &str, path: &str) {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().expect("parent")).expect("make directory");
            symlink(target, file).expect("link");
        }
        fn view(&self, layers: &[&str]) -> View {
            View::open(&layers.iter().map(|layer| self.dir(layer)).collect::<Vec<_>>(), None).expect("layers")
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn file(view: &View, path: &str) -> Option<PathBuf> {
        match view.find(Path::new(path)).expect(path) {
            Found::File { file, .. } => Some(file.path),
            _ => None,
        }
    }

    #[test]
    fn links_stay_inside_and_cross_layers() {
        let tree = Tree::new("links");
        tree.link("/lib/systemd/systemd", "low/init");
        tree.file("high/usr/lib/systemd/systemd", 0o755);
        tree.link("usr/lib", "low/lib");
        tree.link("/etc/passwd", "low/host");
        tree.link("../../../../../../etc/passwd", "low/host2");
        tree.link("b", "low/a");
        tree.link("a", "low/b");
        let view = tree.view(&["low", "high"]);
        let found = file(&view, "/init").expect("init");
        assert_eq!(found, tree.0.join("high/usr/lib/systemd/systemd"));
        // the machine has /etc/passwd, the root has not
        for path in ["/host", "/host2"] {
            let found = view.find(Path::new(path)).expect(path);
            assert!(matches!(found, Found::Missing(_)), "{path}: {found:?}");
        }
        assert!(matches!(view.find(Path::new("/a")), Err(ViewError::TooManyLinks(_))));
    }

    #[test]
    fn higher_layers_win() {
        let tree = Tree::new("order");
        tree.file("low/etc/x", 0o644);
        tree.file("high/etc/x", 0o755);
        tree.file("low/both/low", 0o644);
        tree.file("high/both/high", 0o644);
        tree.file("low/hidden/file", 0o644);
        tree.file("high/hidden", 0o644);
        let view = tree.view(&["low", "high"]);
        assert_eq!(file(&view, "etc/x"), Some(tree.0.join("high/etc/x")));
        assert!(file(&view, "both/low").is_some() && file(&view, "both/high").is_some());
        assert!(file(&view, "hidden/file").is_none());
        assert!(matches!(view.find(Path::new("/both/../etc")), Ok(Found::Directory(_))));
        let upside_down = tree.view(&["high", "low"]);
        assert_eq!(file(&upside_down, "etc/x"), Some(tree.0.join("low/etc/x")));
        assert!(file(&upside_down, "hidden/file").is_some());
    }

    #[test]
    fn only_the_closure_is_seen_of_the_store() {
        let tree = Tree::new("store");
        let name = |c: char| format!("{}-p", String::from(c).repeat(32));
        tree.file(&format!("store/{}/init", name('a')), 0o755);
        tree.file(&format!("store/{}/init", name('b')), 0o755);
        tree.link(&format!("/nix/store/{}/init", name('a')), "layer/init");
        tree.link(&format!("/nix/store/{}/init", name('b')), "layer/other");
        let path = StorePath::parse(&format!("/nix/store/{}", name('a'))).expect("path");
        let closure = Some((&*tree.0.join("store"), std::slice::from_ref(&path)));
        let view = View::open(&[tree.dir("layer")], closure).expect("view");
        assert!(file(&view, "/init").is_some());
        assert!(file(&view, "/other").is_none());
        assert!(file(&view, &path.join("init")).is_some());
    }
}
