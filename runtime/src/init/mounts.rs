//! The mounts of config.json, descriptor to descriptor: a source is a detached
//! mount, a target is opened inside the root, and move_mount(2) joins the two.

use super::Init;
use super::finish_rootfs::clone_mount;
use super::rootfs::attach;
use super::{cgroup_mount, copy_up};
use crate::bail;
use crate::create::idmap_mounts;
use crate::create::protocol::Message;
use crate::create::sources::{self, Cgroups};
use crate::error::{Context, Error, Result};
use crate::path::in_root::Missing;
use crate::path::{InRoot, RootFd};
use crate::plan::mounts::{MountKind, MountPlan, may_cover};
use crate::sys::clone;
use crate::sys::fds::Bin;
use crate::sys::mount::{self as attr, MountAttr, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// linux/magic.h
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;

pub fn mount_all(init: &mut Init<'_>) -> Result<()> {
    let mut bin = Bin::default();
    let mut kernel_mounts = Vec::new();
    let mut read_only = Vec::new();
    for (number, mount) in init.plan.mounts.iter().enumerate() {
        let what = || format!("mount {}", mount.target);
        let cgroups = cgroups(init, mount).doing(what)?;
        let source = match init.sources.mounts.get_mut(number).and_then(Option::take) {
            Some(tree) => Some(tree),
            // The host's paths are in reach until the root is entered, and where a
            // source is left to its turn there is no user namespace.
            None => sources::bind_source(mount, false).doing(what)?,
        };
        let map = |tree: &OwnedFd| map_ids(init, number, mount, tree);
        let tree = one(init.task.root()?, mount, source, &map, &cgroups, &mut bin).doing(what)?;
        match (&mount.kind, tree) {
            (_, Some(tree)) if mount.read_only_last => read_only.push(tree),
            (MountKind::FileSystem { kind, .. }, Some(tree)) if matches!(kind.as_str(), "proc" | "sysfs") => {
                kernel_mounts.push((mount.target.clone(), RootFd::new(tree)));
            }
            // The host's, where an engine gives the container the host's pids.
            (MountKind::Bind { .. }, Some(tree)) if is_of_kernel(mount, &tree) => {
                kernel_mounts.push((mount.target.clone(), RootFd::new(tree)));
            }
            (_, tree) => tree.into_iter().for_each(|tree| bin.put(tree)),
        }
    }
    init.kernel_mounts = kernel_mounts;
    init.read_only_last = read_only;
    Ok(())
}

/// Gives a mount that init has made its id mapping.
fn map_ids(init: &Init<'_>, number: usize, mount: &MountPlan, tree: &OwnedFd) -> Result<()> {
    if mount.idmap.is_none() {
        return Ok(());
    }
    if init.plan.namespaces.has(clone::NEWUSER) {
        init.channel.send_with(&Message::MapMount(number as u32), tree.as_fd())?;
        return init.channel.expect(&Message::MountMapped);
    }
    let namespace = init.sources.idmaps.iter().find(|(of, _)| *of == number).map(|(_, namespace)| namespace);
    namespace.map_or(Ok(()), |namespace| idmap_mounts::apply(mount, tree, namespace.as_fd()))
}

fn is_of_kernel(mount: &MountPlan, tree: &OwnedFd) -> bool {
    let is_place = ["/proc", "/sys"].iter().any(|place| InRoot::new(place) == mount.target);
    let magic = || rustix::fs::fstatfs(tree).map_or(0, |stat| stat.f_type as u64);
    is_place && [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&magic())
}

/// Those for a cgroup mount. They can be attached once, and where the caller has
/// opened them there is one set.
fn cgroups(init: &mut Init<'_>, mount: &MountPlan) -> Result<Cgroups> {
    if !matches!(mount.kind, MountKind::Cgroup) {
        return Ok(Vec::new());
    }
    if sources::has_callers_rights(init.plan) {
        return sources::cgroups(init.plan, mount, init.cgroup);
    }
    init.sources.cgroups.take().ok_or_else(|| Error::new("in a user namespace there can be one cgroup mount"))
}

/// Returns the mount that is now attached, if it has one descriptor. `map` gives
/// what is not from outside its id mapping.
pub fn one(
    root: &RootFd,
    mount: &MountPlan,
    source: Option<OwnedFd>,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
    cgroups: &[(String, OwnedFd)],
    bin: &mut Bin,
) -> Result<Option<OwnedFd>> {
    match &mount.kind {
        MountKind::Bind { inside, .. } => {
            let tree = match (source, inside) {
                (Some(tree), _) => tree,
                (None, Some(path)) => source_inside(root, mount, path, map)?,
                (None, None) => bail!("its source was not opened"),
            };
            let target = target(root, mount, is_directory(&tree)?, bin)?;
            put(tree, target, bin)
        }
        MountKind::Cgroup => cgroup_mount::mount(root, mount, cgroups, bin).map(|()| None),
        MountKind::FileSystem { kind, source, data, copy_up } => {
            let keeps_mode = kind == "tmpfs" && !data.iter().any(|(name, _)| name == "mode");
            let was_there = keeps_mode && root.open(&mount.target, OFlags::PATH).is_ok();
            let target = target(root, mount, true, bin)?;
            let mut make = || {
                let fs = FileSystem::open(kind)?;
                fs.set("source", Some(source))?;
                for (name, value) in data {
                    fs.set(name, value.as_deref())?;
                }
                if was_there {
                    // As the directory under it, so that /tmp stays sticky.
                    let mode = rustix::fs::fstat(&target).doing(|| "look at the target")?.st_mode & 0o7777;
                    fs.set("mode", Some(&format!("{mode:o}")))?;
                }
                fs.mount(attributes(mount.attr.set), bin)
            };
            let tree = match make() {
                Err(error) if kind == "sysfs" && error.errno() == Some(Errno::PERM) => hosts_sysfs(mount)?,
                tree => tree?,
            };
            if *copy_up {
                copy_up::copy(&target, &tree)?;
            }
            recursive_options(&tree, mount)?;
            map(&tree)?;
            put(tree, target, bin)
        }
    }
}

/// A part of what has been mounted so far.
fn source_inside(
    root: &RootFd,
    mount: &MountPlan,
    path: &InRoot,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
) -> Result<OwnedFd> {
    let what = || format!("bind mount source {path} in the root");
    let place = root.open(path, OFlags::PATH).doing(what)?;
    let MountKind::Bind { recursive, .. } = mount.kind else { bail!("it is no bind mount") };
    let tree = clone_mount(&place, recursive).doing(what)?;
    map(&tree)?;
    sources::with_options(mount, tree, false)
}

/// A new one belongs to a network namespace of the user namespace's: without one
/// there is the host's, as under crun.
fn hosts_sysfs(mount: &MountPlan) -> Result<OwnedFd> {
    let what = || "bind the host's /sys, for a new sysfs needs a network namespace of the container's own";
    let tree = sources::tree(Path::new("/sys"), true).doing(what)?;
    let attr = MountAttr { set: mount.attr.set, propagation: attr::PROPAGATION_SLAVE, ..MountAttr::default() };
    setattr(tree.as_fd(), true, &attr).doing(what)?;
    Ok(tree)
}

/// What fsmount(2) can't set: propagation, and attributes given recursively.
fn recursive_options(tree: &OwnedFd, mount: &MountPlan) -> Result<()> {
    let propagation = mount.propagation.map_or(0, |(kind, _)| kind);
    let rest = MountAttr { propagation, ..mount.recursive_attr };
    if rest.is_noop() {
        return Ok(());
    }
    setattr(tree.as_fd(), true, &rest).doing(|| "set the mount's options")
}

/// The target of a mount, made where it is missing.
pub fn target(root: &RootFd, mount: &MountPlan, directory: bool, bin: &mut Bin) -> Result<OwnedFd> {
    let path = &mount.target;
    let (missing, mode) = if directory { (Missing::Directory, 0o755) } else { (Missing::File, 0o644) };
    let mode = Mode::from_raw_mode(mode);
    // Without links the text of the path is the place; no mount may cover
    // more of /proc than the plan has checked (CVE-2019-16884).
    match root.open_plain(path, OFlags::PATH) {
        Ok(target) => return Ok(target),
        Err(Errno::NOENT) => {
            if let Some(target) = root.make_plain(path, missing, mode, bin)? {
                return Ok(target);
            }
        }
        Err(Errno::LOOP) => {}
        Err(errno) => return Err(errno).doing(|| "open the target"),
    }
    if let MountKind::FileSystem { kind, .. } = &mount.kind
        && matches!(kind.as_str(), "proc" | "sysfs")
    {
        refuse_links(root, path, kind)?;
    }
    let target = root.open_or_make(path, missing, mode)?;
    let magic = rustix::fs::fstatfs(&target).doing(|| "look at the target")?.f_type as u64;
    if magic == PROC_SUPER_MAGIC && may_cover(path, &mount.kind) && !InRoot::new("/proc").contains(path) {
        bail!("{path} leads into /proc, where nothing may be mounted");
    }
    Ok(target)
}

/// procfs and sysfs behind a link would leave the real /proc or /sys to the
/// image (CVE-2023-27561).
fn refuse_links(root: &RootFd, path: &InRoot, kind: &str) -> Result<()> {
    match root.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(found) => match FileType::from_raw_mode(rustix::fs::fstat(&found).doing(|| "look at the target")?.st_mode) {
            FileType::Directory => {
                bail!("{path} lies behind a symbolic link: {kind} must be mounted on ordinary directory")
            }
            _ => bail!("{path} is no directory: {kind} must be mounted on ordinary directory"),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).doing(|| "open the target"),
    }
}

fn put(tree: OwnedFd, target: OwnedFd, bin: &mut Bin) -> Result<Option<OwnedFd>> {
    match attach(&tree, &target) {
        Err(Errno::NOTDIR | Errno::INVAL) if is_directory(&tree)? != is_directory(&target)? => {
            let kind = |directory| if directory { "a directory" } else { "a file" };
            bail!("its source is {}, but its target is {}", kind(is_directory(&tree)?), kind(is_directory(&target)?))
        }
        result => result.doing(|| "attach it")?,
    }
    bin.put(target);
    Ok(Some(tree))
}

fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstat(fd).doing(|| "look at it")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Mount attributes as fsmount(2) takes them; their values are the same.
pub fn attributes(set: u64) -> MountAttrFlags {
    debug_assert_eq!(attr::ATTR_RDONLY, u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()));
    MountAttrFlags::from_bits_retain(set as u32)
}

/// A file system that is being made, fsopen(2). Its errors have the kernel's
/// own words in them.
#[derive(Debug)]
pub struct FileSystem {
    context: OwnedFd,
    kind: String,
}

impl FileSystem {
    pub fn open(kind: &str) -> Result<Self> {
        match rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(context) => Ok(FileSystem { context, kind: kind.to_owned() }),
            Err(Errno::NODEV) => Err(Error::new(format!("this kernel has no file system {kind:?}"))),
            Err(errno) => Err(errno).doing(|| format!("open file system {kind:?}")),
        }
    }

    /// A value, or a flag where there is none.
    pub fn set(&self, name: &str, value: Option<&str>) -> Result<()> {
        match value {
            None => rustix::mount::fsconfig_set_flag(&self.context, name),
            Some(value) => rustix::mount::fsconfig_set_string(&self.context, name, value),
        }
        .doing(|| self.told(&format!("{} option {name:?}", self.kind)))
    }

    /// A path of the host, as text.
    pub fn set_path(&self, name: &str, path: &Path) -> rustix::io::Result<()> {
        self.set_bytes(name, path.as_os_str().as_bytes())
    }

    pub fn set_bytes(&self, name: &str, value: &[u8]) -> rustix::io::Result<()> {
        let value = CString::new(value).map_err(|_| Errno::INVAL)?;
        rustix::mount::fsconfig_set_string(&self.context, name, value)
    }

    /// The mount, attached nowhere yet.
    pub fn mount(self, attributes: MountAttrFlags, bin: &mut Bin) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.context).doing(|| self.told(&format!("make the {}", self.kind)))?;
        let mount = rustix::mount::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .doing(|| self.told(&format!("mount the {}", self.kind)))?;
        bin.put(self.context);
        Ok(mount)
    }

    /// `what`, with what the kernel noted: lines such as `e tmpfs: Bad value`.
    pub fn told(&self, what: &str) -> String {
        let mut buffer = [0u8; 1024];
        let mut text = what.to_owned();
        while let Ok(length @ 1..) = rustix::io::read(&self.context, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            text += &format!(" ({})", line.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start());
        }
        text
    }
}
