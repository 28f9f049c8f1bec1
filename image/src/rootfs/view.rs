//! What a container will see of its layers and its closure, worked out without
//! mounting anything: names are looked up as overlayfs does, links are followed
//! inside of the root and never out of it.
//!
//! Every look-up is of one name in an open directory and follows nothing, so that
//! a layer whose files are exchanged meanwhile can't lead it elsewhere.

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

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The merged root.
#[derive(Debug, Default)]
pub struct View {
    /// Highest first.
    layers: Vec<Place>,
    store: Option<StoreView>,
}

#[derive(Debug)]
struct StoreView {
    dir: Place,
    names: BTreeSet<OsString>,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    /// A regular file, and whether it can be executed.
    File { file: Node, executable: bool },
    /// A directory.
    Directory,
    /// A socket, device or pipe.
    Special,
    /// Nothing; the name that is missing, as seen inside.
    Missing(PathBuf),
}

/// Why a path could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0}: a file system is mounted inside of the layer, which the container would not see: unmount it")]
    Mount(PathBuf),
    #[error("{0}: too many links")]
    TooManyLinks(PathBuf),
}

/// Something on this machine, held by an O_PATH descriptor.
#[derive(Debug, Clone)]
pub struct Node {
    /// For messages only.
    pub path: PathBuf,
    fd: Rc<OwnedFd>,
}

/// A directory of a layer.
type Place = Node;

/// A directory of the root: where it lies inside, and what it is merged from.
#[derive(Debug, Clone)]
struct Merged {
    inside: PathBuf,
    places: Vec<Place>,
}

enum Entry {
    Missing,
    Link(PathBuf),
    Directory(Merged),
    Other(Node, Stat),
}

impl Node {
    fn directory(path: &Path) -> Result<Self, ViewError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let fd = fd.map_err(|errno| ViewError::Read { path: path.to_owned(), source: errno.into() })?;
        Ok(Self { path: path.to_owned(), fd: Rc::new(fd) })
    }

    /// The entry `name` of a directory, itself if it is a link.
    fn entry(&self, name: &OsStr) -> Result<Option<(Node, Stat)>, ViewError> {
        let path = self.path.join(name);
        let failed = |errno: Errno| match errno {
            // As overlayfs: it shows a layer without what is mounted inside.
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

    /// The file that was found, whatever has its name by now.
    pub fn open(&self) -> io::Result<File> {
        File::open(self.handle())
    }

    /// A magic link to it (proc(5)), for the calls that take no O_PATH descriptor.
    fn handle(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// Whether one of overlayfs's marks has this value.
    fn is_marked(&self, name: &str, wanted: &[u8]) -> bool {
        let mut value = [0; 1];
        let length = rustix::fs::getxattr(self.handle(), name, &mut value);
        length.is_ok_and(|length| &value[..length] == wanted)
    }

    /// The mark of a directory that hides those of the same name below.
    fn is_opaque(&self) -> bool {
        self.is_marked("trusted.overlay.opaque", b"y")
    }

    /// The mark for a name that a higher layer has deleted: a character device
    /// 0:0 or, in a directory that says so, an empty file with an attribute
    /// (Linux 6.7). As the container's overlay is mounted without `userxattr`,
    /// `user.overlay.` attributes mean nothing.
    fn is_whiteout(&self, stat: &Stat, dir: &Node) -> bool {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => stat.st_rdev == 0,
            FileType::RegularFile if stat.st_size == 0 => {
                dir.is_marked("trusted.overlay.opaque", b"x")
                    && rustix::fs::getxattr(self.handle(), "trusted.overlay.whiteout", &mut [0; 0]).is_ok()
            }
            _ => false,
        }
    }
}

impl View {
    /// The view of `layers`, lowest first, and of a closure in the store at `dir`.
    pub fn open(layers: &[PathBuf], closure: Option<(&Path, &[StorePath])>) -> Result<Self, ViewError> {
        let store = |(dir, paths): (&Path, &[StorePath])| {
            let names = paths.iter().map(|path| path.base().into()).collect();
            Ok(StoreView { dir: Node::directory(dir)?, names })
        };
        Ok(Self {
            layers: layers.iter().rev().map(|layer| Node::directory(layer)).collect::<Result<_, _>>()?,
            store: closure.map(store).transpose()?,
        })
    }

    /// Looks up a path of the root.
    pub fn find(&self, path: &Path) -> Result<Found, ViewError> {
        let mut todo: VecDeque<OsString> = names(path).collect();
        let mut at = vec![Merged { inside: "/".into(), places: self.layers.clone() }];
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
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(name);
                    }
                }
                Entry::Other(file, stat) if todo.is_empty() => return Ok(leaf(file, &stat)),
                Entry::Other(..) => return Ok(Found::Missing(here.inside.join(name))),
            }
        }
        Ok(Found::Directory)
    }

    fn lookup(&self, here: &Merged, name: &OsStr) -> Result<Entry, ViewError> {
        let inside = here.inside.join(name);
        if let Some(store) = &self.store {
            if here.inside == Path::new(LOGICAL_STORE) {
                // Of the store only the closure is visible, whatever layers hold there.
                return if store.names.contains(name) {
                    merge(inside, std::slice::from_ref(&store.dir), name)
                } else {
                    Ok(Entry::Missing)
                };
            }
            if inside == Path::new(LOGICAL_STORE) {
                return Ok(Entry::Directory(Merged { inside, places: Vec::new() }));
            }
            if inside == Path::new("/nix") {
                return Ok(match merge(inside.clone(), &here.places, name)? {
                    Entry::Missing => Entry::Directory(Merged { inside, places: Vec::new() }),
                    node => node,
                });
            }
        }
        merge(inside, &here.places, name)
    }
}

/// What overlayfs makes of `name` in the directories `places`, highest first.
fn merge(inside: PathBuf, places: &[Place], name: &OsStr) -> Result<Entry, ViewError> {
    let mut merged = Vec::new();
    for place in places {
        let Some((node, stat)) = place.entry(name)? else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            if merged.is_empty() && !node.is_whiteout(&stat, place) {
                return Ok(if kind == FileType::Symlink {
                    Entry::Link(target(&node)?)
                } else {
                    Entry::Other(node, stat)
                });
            }
            break;
        }
        let opaque = node.is_opaque();
        merged.push(node);
        if opaque {
            break;
        }
    }
    Ok(if merged.is_empty() { Entry::Missing } else { Entry::Directory(Merged { inside, places: merged }) })
}

fn target(link: &Node) -> Result<PathBuf, ViewError> {
    let text = rustix::fs::readlinkat(&*link.fd, "", Vec::new());
    let text = text.map_err(|errno| ViewError::Read { path: link.path.clone(), source: errno.into() })?;
    Ok(OsString::from_vec(text.into_bytes()).into())
}

fn leaf(file: Node, stat: &Stat) -> Found {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Found::Special;
    }
    Found::File { file, executable: stat.st_mode & 0o111 != 0 }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
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
            std::fs::create_dir_all(&dir).expect("make folder");
            dir
        }
        fn file(&self, path: &str, mode: u32) {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().expect("parent")).expect("make folder");
            std::fs::write(&file, "").expect("write");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("chmod");
        }
        fn link(&self, target: &str, path: &str) {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().expect("parent")).expect("make folder");
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
        assert!(matches!(view.find(Path::new("/both/../etc")), Ok(Found::Directory)));
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
