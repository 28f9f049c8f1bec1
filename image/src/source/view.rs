//! What a container will see of its layers and its closure, worked out without
//! mounting anything: names are looked up as overlayfs does, links are followed
//! inside of the root and never out of it.

use super::store_path::{LOGICAL_STORE, StorePath};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The merged root.
#[derive(Debug, Default)]
pub struct View {
    /// Highest first.
    layers: Vec<PathBuf>,
    store: Option<StoreView>,
}

#[derive(Debug)]
struct StoreView {
    dir: PathBuf,
    names: BTreeSet<OsString>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A regular file: where it lies on this machine, and whether it can be executed.
    File { path: PathBuf, executable: bool },
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
    #[error("{0}: too many links")]
    TooManyLinks(PathBuf),
}

/// A directory of the root: where it lies inside, and what it is merged from.
#[derive(Debug, Clone)]
struct Merged {
    inside: PathBuf,
    places: Vec<PathBuf>,
}

enum Node {
    Missing,
    Link(PathBuf),
    Directory(Merged),
    Other(PathBuf, Metadata),
}

impl View {
    /// The view of `layers`, lowest first, and of a closure in the store at `dir`.
    pub fn new(layers: &[PathBuf], closure: Option<(&Path, &[StorePath])>) -> Self {
        Self {
            layers: layers.iter().rev().cloned().collect(),
            store: closure.map(|(dir, paths)| StoreView {
                dir: dir.to_owned(),
                names: paths.iter().map(|path| path.base().into()).collect(),
            }),
        }
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
                Node::Missing => return Ok(Found::Missing(here.inside.join(name))),
                Node::Directory(merged) => at.push(merged),
                Node::Link(target) => {
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
                Node::Other(file, meta) if todo.is_empty() => return Ok(leaf(file, &meta)),
                Node::Other(..) => return Ok(Found::Missing(here.inside.join(name))),
            }
        }
        Ok(Found::Directory)
    }

    fn lookup(&self, here: &Merged, name: &OsStr) -> Result<Node, ViewError> {
        let inside = here.inside.join(name);
        if let Some(store) = &self.store {
            if here.inside == Path::new(LOGICAL_STORE) {
                // Of the store only the closure is visible, whatever layers hold there.
                return if store.names.contains(name) {
                    merge(inside, std::slice::from_ref(&store.dir), name)
                } else {
                    Ok(Node::Missing)
                };
            }
            if inside == Path::new(LOGICAL_STORE) {
                return Ok(Node::Directory(Merged { inside, places: Vec::new() }));
            }
            if inside == Path::new("/nix") {
                return Ok(match merge(inside.clone(), &here.places, name)? {
                    Node::Missing => Node::Directory(Merged { inside, places: Vec::new() }),
                    node => node,
                });
            }
        }
        merge(inside, &here.places, name)
    }
}

/// What overlayfs makes of `name` in the directories `places`, highest first.
fn merge(inside: PathBuf, places: &[PathBuf], name: &OsStr) -> Result<Node, ViewError> {
    let mut merged = Vec::new();
    for place in places {
        let path = place.join(name);
        let error = |source| ViewError::Read { path: path.clone(), source };
        let meta = match std::fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(error(source)),
        };
        if !meta.is_dir() {
            if merged.is_empty() && !is_whiteout(&meta) {
                return Ok(if meta.is_symlink() {
                    Node::Link(std::fs::read_link(&path).map_err(error)?)
                } else {
                    Node::Other(path, meta)
                });
            }
            break;
        }
        let opaque = is_opaque(&path);
        merged.push(path);
        if opaque {
            break;
        }
    }
    Ok(if merged.is_empty() { Node::Missing } else { Node::Directory(Merged { inside, places: merged }) })
}

/// overlayfs's mark for a name that a higher layer has deleted.
pub fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// overlayfs's mark for a directory that hides those of the same name below.
pub fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .into_iter()
        .any(|name| rustix::fs::lgetxattr(path, name, &mut value) == Ok(1) && value == *b"y")
}

fn leaf(path: PathBuf, meta: &Metadata) -> Found {
    if !meta.is_file() {
        return Found::Special;
    }
    Found::File { path, executable: meta.permissions().mode() & 0o111 != 0 }
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
    use std::os::unix::fs::symlink;

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
            View::new(&layers.iter().map(|layer| self.dir(layer)).collect::<Vec<_>>(), None)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn file(view: &View, path: &str) -> Option<PathBuf> {
        match view.find(Path::new(path)).expect(path) {
            Found::File { path, .. } => Some(path),
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
        assert_eq!(view.find(Path::new("/both/../etc")).expect("find"), Found::Directory);
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
        let view = View::new(&[tree.dir("layer")], Some((&tree.0.join("store"), std::slice::from_ref(&path))));
        assert!(file(&view, "/init").is_some());
        assert!(file(&view, "/other").is_none());
        assert!(file(&view, &path.join("init")).is_some());
    }
}
