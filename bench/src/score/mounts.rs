//! The mounts of a container, what covers them, and the change of root. Paths
//! are relative to the root, which is the working directory until it is `/`.

use super::{CWD, Place, Score};
use firn::internals::cgroup::{Cgroup, Dir};
use firn::internals::plan::Plan;
use firn::internals::plan::mounts::{MountKind, MountPlan};
use firn::internals::sys::clone;
use firn::internals::sys::mount::{ATTR_RDONLY, MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SLAVE};
use firn::path::InRoot;
use std::path::Path;

// linux/mount.h
const OPEN_TREE_CLONE: i32 = 1;
const MOVE_FROM_EMPTY: i32 = 4;
const SET_FLAG: i32 = 0;
const SET_STRING: i32 = 1;
const CREATE: i32 = 6;
const RECURSIVE: i32 = 0x8000;
const CLOEXEC: i32 = 1;

const READ_ONLY: MountAttr = MountAttr { set: ATTR_RDONLY, clear: 0, propagation: 0, userns_fd: 0 };

/// From the new mount namespace to the new root.
pub fn enter_root(score: &mut Score, plan: &Plan, cgroup: &Cgroup) {
    let propagation = |propagation| MountAttr { propagation, ..MountAttr::default() };
    score.setattr(CWD, "/", RECURSIVE, &propagation(PROPAGATION_SLAVE));
    let root = open_tree(score, &plan.rootfs, true);
    let place = score.path(&plan.rootfs);
    move_mount(score, root, CWD.into(), place);
    score.call(libc::SYS_fchdir, &[root.into()]);
    for mount in &plan.mounts {
        make_target(score, plan, mount);
        one(score, plan, mount, cgroup);
    }
    fill_dev(score, plan);
    let null = open_tree(score, Path::new("/dev/null"), false);
    if let Some(name) = &plan.hostname {
        let length = name.as_bytes().len() as u64;
        let name = score.text(name.as_bytes());
        score.call(libc::SYS_sethostname, &[name, length.into()]);
    }
    for (path, value) in &plan.sysctls {
        score.write_file(&Path::new("proc/sys").join(path), value);
    }
    let here = score.text(".");
    score.call(libc::SYS_pivot_root, &[here, here]);
    score.call(libc::SYS_umount2, &[here, libc::MNT_DETACH.into()]);
    let top = score.text("/");
    score.call(libc::SYS_chdir, &[top]);
    score.setattr(root, "", libc::AT_EMPTY_PATH, &propagation(PROPAGATION_PRIVATE));
    for path in plan.readonly.iter().filter(|path| exists(path)) {
        let tree = open_tree(score, Path::new(&path.to_string()), true);
        score.setattr(tree, "", libc::AT_EMPTY_PATH | RECURSIVE, &READ_ONLY);
        attach(score, tree, &path.to_string());
    }
    mask(score, plan, null);
    if plan.readonly_root {
        score.setattr(root, "", libc::AT_EMPTY_PATH, &READ_ONLY);
    }
}

/// Whether a path of /proc or /sys exists: inside as it does here.
fn exists(path: &InRoot) -> bool {
    Path::new(&path.to_string()).exists()
}

/// Below a tmpfs of the container's own nothing is there yet; in the root it has
/// been made.
fn make_target(score: &mut Score, plan: &Plan, mount: &MountPlan) {
    let is_tmpfs = |other: &MountPlan| matches!(&other.kind, MountKind::FileSystem { kind, .. } if kind == "tmpfs");
    let new = plan.mounts.iter().any(|m| is_tmpfs(m) && m.target != mount.target && m.target.contains(&mount.target));
    if new {
        let path = relative(score, &mount.target);
        score.call(libc::SYS_mkdirat, &[CWD.into(), path, 0o755.into()]);
    }
}

fn relative(score: &mut Score, path: &InRoot) -> super::Arg {
    score.text(path.to_string().trim_start_matches('/'))
}

fn one(score: &mut Score, plan: &Plan, mount: &MountPlan, cgroup: &Cgroup) {
    let target = mount.target.to_string();
    let target = target.trim_start_matches('/');
    match &mount.kind {
        MountKind::Bind { source, recursive, .. } => {
            let tree = open_tree(score, source, *recursive);
            let (propagation, _) = mount.propagation.unwrap_or((PROPAGATION_SLAVE, true));
            score.setattr(tree, "", libc::AT_EMPTY_PATH, &MountAttr { propagation, ..mount.attr });
            attach(score, tree, target);
        }
        MountKind::FileSystem { kind, source, data, .. } => {
            let source = ("source".to_owned(), Some(source.clone()));
            let options: Vec<_> = std::iter::once(&source).chain(data).cloned().collect();
            let tree = file_system(score, kind, &options, mount.attr.set);
            if let Some((propagation, _)) = mount.propagation {
                let attr = MountAttr { propagation, ..MountAttr::default() };
                score.setattr(tree, "", libc::AT_EMPTY_PATH, &attr);
            }
            attach(score, tree, target);
        }
        MountKind::Cgroup { .. } if cgroup.pure_v2 => {
            let private = plan.namespaces.has(clone::NEWCGROUP);
            let top = Path::new("/sys/fs/cgroup");
            let dir = cgroup.v2().map(|dir| dir.path.as_path()).filter(|_| private).unwrap_or(top);
            let tree = cgroup_tree(score, dir, mount);
            attach(score, tree, target);
        }
        MountKind::Cgroup { .. } => hierarchies(score, mount, target, cgroup),
    }
}

fn cgroup_tree(score: &mut Score, dir: &Path, mount: &MountPlan) -> Place {
    let tree = open_tree(score, dir, true);
    let attr = MountAttr { propagation: PROPAGATION_SLAVE, ..mount.attr };
    score.setattr(tree, "", libc::AT_EMPTY_PATH | RECURSIVE, &attr);
    tree
}

/// cgroup v1: a tmpfs with a directory for each hierarchy.
fn hierarchies(score: &mut Score, mount: &MountPlan, target: &str, cgroup: &Cgroup) {
    let options =
        [("source", "tmpfs"), ("mode", "0755")].map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let top = file_system(score, "tmpfs", &options, mount.attr.set & !ATTR_RDONLY);
    attach(score, top, target);
    for dir in &cgroup.dirs {
        let name = directory(dir);
        let path = score.text(name);
        score.call(libc::SYS_mkdirat, &[top.into(), path, 0o755.into()]);
        for controller in name.split(',').filter(|controller| *controller != name) {
            let link = score.text(controller);
            score.call(libc::SYS_symlinkat, &[path, top.into(), link]);
        }
        let tree = cgroup_tree(score, &dir.path, mount);
        move_mount(score, tree, top.into(), path);
    }
    if mount.attr.set & ATTR_RDONLY != 0 {
        score.setattr(top, "", libc::AT_EMPTY_PATH, &READ_ONLY);
    }
}

fn directory(dir: &Dir) -> &str {
    match dir.hierarchy.strip_prefix("name=") {
        Some(name) => name,
        None if dir.is_v2() => "unified",
        None => &dir.hierarchy,
    }
}

fn fill_dev(score: &mut Score, plan: &Plan) {
    for node in &plan.devices {
        let path = relative(score, &node.path);
        let device = libc::makedev(node.major, node.minor);
        let mode = node.kind.as_raw_mode() | node.mode;
        score.call(libc::SYS_mknodat, &[CWD.into(), path, mode.into(), device.into()]);
    }
    for (text, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/proc/kcore", "core"),
        ("pts/ptmx", "ptmx"),
    ] {
        if name != "core" || Path::new(text).exists() {
            let (text, link) = (score.text(text), score.text(format!("dev/{name}")));
            score.call(libc::SYS_symlinkat, &[text, CWD.into(), link]);
        }
    }
}

/// One mount of each kind covers all: itself the first, copies the others.
fn mask(score: &mut Score, plan: &Plan, null: Place) {
    let (mut file, mut directory) = (Some(null), None);
    let mut attached = [None; 2];
    for path in plan.masked.iter().filter(|path| exists(path)) {
        let path = path.to_string();
        let is_dir = Path::new(&path).is_dir();
        let first = if is_dir { &mut directory } else { &mut file };
        let tree = match attached[usize::from(is_dir)] {
            Some(first) => copy(score, first),
            None => first.take().unwrap_or_else(|| empty_directory(score)),
        };
        attached[usize::from(is_dir)].get_or_insert(tree);
        attach(score, tree, &path);
    }
}

fn empty_directory(score: &mut Score) -> Place {
    const ATTRIBUTES: u64 = 7; // read-only, no set-ID, no devices
    let options = [("source", "tmpfs"), ("nr_inodes", "1"), ("mode", "0755")];
    let options = options.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    file_system(score, "tmpfs", &options, ATTRIBUTES)
}

fn file_system(score: &mut Score, kind: &str, options: &[(String, Option<String>)], attributes: u64) -> Place {
    let name = score.text(kind);
    let context = score.open(libc::SYS_fsopen, &[name, CLOEXEC.into()]);
    for (name, value) in options {
        let name = score.text(name);
        let (command, value) = match value {
            Some(value) => (SET_STRING, score.text(value)),
            None => (SET_FLAG, 0.into()),
        };
        score.call(libc::SYS_fsconfig, &[context.into(), command.into(), name, value, 0.into()]);
    }
    score.call(libc::SYS_fsconfig, &[context.into(), CREATE.into(), 0.into(), 0.into(), 0.into()]);
    score.open(libc::SYS_fsmount, &[context.into(), CLOEXEC.into(), attributes.into()])
}

fn open_tree(score: &mut Score, path: &Path, recursive: bool) -> Place {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | if recursive { RECURSIVE } else { 0 };
    let path = score.path(path);
    score.open(libc::SYS_open_tree, &[CWD.into(), path, flags.into()])
}

fn copy(score: &mut Score, tree: Place) -> Place {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
    let empty = score.text("");
    score.open(libc::SYS_open_tree, &[tree.into(), empty, flags.into()])
}

fn attach(score: &mut Score, tree: Place, path: &str) {
    let path = score.text(path);
    move_mount(score, tree, CWD.into(), path);
}

fn move_mount(score: &mut Score, tree: Place, dir: super::Arg, path: super::Arg) {
    let empty = score.text("");
    score.call(libc::SYS_move_mount, &[tree.into(), empty, dir, path, MOVE_FROM_EMPTY.into()]);
}
