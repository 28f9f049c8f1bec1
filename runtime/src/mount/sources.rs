//! What is opened on the host for a container. Existence is checked before init is cloned,
//! by the caller's paths: a missing source is an error before there is a cgroup or a
//! process. Who opens what, and when:
//!
//! | | the container has no user namespace | it has one | and the caller may not mount |
//! |---|---|---|---|
//! | binds, the cgroup | init, just before the mount | the caller | init, in step "sources" |
//! | /dev/null, device nodes | the caller | the caller | init, in step "sources" |
//! | layers, the closure | init, in step "root file system" | the caller | init, in step "root file system" |
//! | namespaces | the caller | the caller | the caller |
//!
//! `deferred_kind` has the binds that are exceptions.

use super::bind_options::{clone_tree, merge_attrs};
use super::bind_source::{HostRoot, Source, SourceKind, bind_source, check_exists, contains_root};
use super::file_system::FsContext;
use crate::bail;
use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use crate::path::kernel_fs::kernel_fs_type;
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::plan::namespaces::KINDS;
use crate::plan::sysctl;
use crate::sys::clone;
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{
    ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, MountAttr, PROPAGATION_PRIVATE, PROPAGATION_SLAVE, setattr,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, stat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use std::path::Path;

/// Cgroups as detached mounts, by the name of their directory below /sys/fs/cgroup; cgroup
/// v2 has the one name "".
pub type Cgroups = Vec<(String, OwnedFd)>;

/// The descriptors for the mounts and namespaces of a plan.
#[derive(Debug, Default)]
pub struct Sources {
    /// The caller has opened them; where it may not mount, init does.
    pub are_opened: bool,
    /// The source of each mount of the plan; None where it is no bind.
    pub mounts: Vec<Option<Source>>,
    /// `root.path` on the host, where there are binds.
    pub root: HostRoot,
    /// User namespaces with the ID mappings of idmapped mounts, by the mount's index.
    pub idmaps: Vec<(usize, OwnedFd)>,
    /// The container's cgroups with their options. None where init opens them just before
    /// the mount.
    pub cgroups: Option<Cgroups>,
    /// /dev/null as a detached mount, to mask files.
    pub null: Option<OwnedFd>,
    /// Device nodes as detached mounts, in the order of the plan's devices, where mknod(2)
    /// is refused in a user namespace.
    pub nodes: Vec<OwnedFd>,
    /// The root of a firn.json, where the caller mounts it: detached mounts.
    pub layered_root: Option<OwnedFd>,
    /// The namespaces to join (CLONE_NEW*), in order.
    pub namespaces: Vec<(u64, OwnedFd)>,
    /// A connected socket, to which the pty master is sent.
    pub console_socket: Option<OwnedFd>,
}

/// Opens the namespaces to join, and all that the caller opens where it `may_mount`.
/// Errors: a missing source, a sysctl of the host, an idmapped mount that needs
/// CAP_SYS_ADMIN.
pub fn open_sources(plan: &Plan, console_socket: Option<OwnedFd>, may_mount: bool) -> Result<Sources> {
    let namespaces = plan.namespaces.join.iter().map(|(kind, path)| {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Ok((*kind, file.doing(|| format!("open namespace {}", path.display()))?))
    });
    let namespaces = namespaces.collect::<Result<Vec<_>>>()?;
    refuse_sysctls_of_the_host(plan, &namespaces)?;
    let mut sources = Sources { namespaces, console_socket, ..Sources::default() };
    if !may_mount && let Some(mount) = plan.mounts.iter().find(|mount| mount.idmap.is_some()) {
        bail!("mount {}: an idmapped mount needs CAP_SYS_ADMIN on the host", mount.target);
    }
    if may_mount {
        sources.open_mounts(plan)?;
    }
    Ok(sources)
}

/// The plan allows sysctls of a namespace that is not the host's; one that is joined by
/// path may be the host's all the same, which device and inode tell.
fn refuse_sysctls_of_the_host(plan: &Plan, joined: &[(u64, OwnedFd)]) -> Result<()> {
    for (path, _) in &plan.sysctls {
        let Some((kind, fd)) = joined.iter().find(|(kind, _)| sysctl::namespace(path) == Some(*kind)) else { continue };
        let what = || "stat a namespace to join";
        let name = KINDS.iter().find(|(_, flag)| flag == kind).map_or("", |(name, _)| name);
        let file = if *kind == clone::NEWNET { "net" } else { name };
        let (theirs, own) = (fstat(fd).doing(what)?, stat(format!("/proc/self/ns/{file}")).doing(what)?);
        if (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino) {
            bail!("linux.sysctl: {path:?} is not allowed in the host's {name} namespace");
        }
    }
    Ok(())
}

/// The network namespace of the container whose init has just been cloned.
pub fn open_network_namespace(sources: &Sources, init: Pid) -> Result<OwnedFd> {
    let what = || "open the container's network namespace";
    match sources.namespaces.iter().find(|(kind, _)| *kind == clone::NEWNET) {
        Some((_, joined)) => joined.try_clone().doing(what),
        None => {
            let path = format!("/proc/{}/ns/net", init.as_raw_nonzero());
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(what)
        }
    }
}

impl Sources {
    /// All open descriptors, to be closed in batches.
    pub fn into_fds(self) -> impl Iterator<Item = OwnedFd> {
        let Sources {
            are_opened: _,
            mounts,
            root: _,
            idmaps,
            cgroups,
            null,
            nodes,
            layered_root,
            namespaces,
            console_socket,
        } = self;
        let mounts = mounts.into_iter().flatten().filter_map(Source::into_tree);
        let namespaces = idmaps.into_iter().map(|(_, fd)| fd).chain(namespaces.into_iter().map(|(_, fd)| fd));
        let cgroups = cgroups.into_iter().flatten().map(|(_, fd)| fd);
        mounts.chain(namespaces).chain(cgroups).chain(null).chain(nodes).chain(layered_root).chain(console_socket)
    }

    fn open_mounts(&mut self, plan: &Plan) -> Result<()> {
        if plan.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Bind { .. })) {
            self.root = HostRoot::resolve(&plan.rootfs)?;
        }
        let in_user_namespace = plan.namespaces.has(clone::NEWUSER);
        let mut batch = CloseBatch::default();
        self.mounts = plan
            .mounts
            .iter()
            .map(|mount| match deferred_kind(plan, mount, &self.root)? {
                Some(known) => Ok(Some(Source::Deferred(known))),
                None => bind_source(mount, &self.root, None, (in_user_namespace, SourceKind::Unknown), &mut batch),
            })
            .collect::<Result<_>>()?;
        self.null = if plan.masked.is_empty() { None } else { Some(clone_dev_null()?) };
        if plan.namespaces.has(clone::NEWUSER) {
            self.nodes = plan.devices.iter().map(clone_device).collect::<Result<_>>()?;
        }
        self.are_opened = true;
        Ok(())
    }

    /// Opens the deferred binds as well: for a restore, which runs no init of ours.
    pub fn open_deferred(&mut self, plan: &Plan) -> Result<()> {
        let in_user_namespace = plan.namespaces.has(clone::NEWUSER);
        for (source, mount) in self.mounts.iter_mut().zip(&plan.mounts) {
            if let Some(Source::Deferred(known)) = *source {
                *source = bind_source(mount, &self.root, None, (in_user_namespace, known), &mut CloseBatch::default())?;
            }
        }
        Ok(())
    }

    /// In init: what the caller may not open, and the cgroup that systemd has created.
    pub fn open_in_init(&mut self, plan: &Plan, cgroup: &Cgroup) -> Result<()> {
        if !self.are_opened {
            self.open_mounts(plan)?;
        }
        if self.cgroups.is_none() && !init_has_caller_rights(plan) {
            self.cgroups = clone_cgroups_of_first_mount(plan, cgroup)?;
        }
        Ok(())
    }

    /// In the caller: the cgroups, once they exist.
    pub fn open_cgroups(&mut self, plan: &Plan, cgroup: &Cgroup) -> Result<()> {
        // cgroup2 mounted in a cgroup namespace shows that one: by init, within it.
        let by_init = cgroup.dirs.is_empty() && plan.namespaces.has(clone::NEWCGROUP);
        if self.are_opened && !init_has_caller_rights(plan) && !by_init {
            self.cgroups = clone_cgroups_of_first_mount(plan, cgroup)?;
        }
        Ok(())
    }
}

/// Whether init sees the caller's mounts and has its capabilities.
pub fn init_has_caller_rights(plan: &Plan) -> bool {
    plan.namespaces.makes(clone::NEWNS) && !plan.namespaces.has(clone::NEWUSER)
}

/// The type of a bind's source where init opens it just before it is mounted; None where
/// the caller does. mountinfo lists mounts in the order in which they were created (Linux
/// 6.8), and a detached mount is created when it is opened: so by init, in the order of
/// the config. By the caller, before anything is mounted:
/// - in a user namespace, or a joined mount namespace: init lacks the capabilities;
/// - idmapped mounts, whose mapping the caller sets;
/// - with a `rootfsPropagation` of more than slave: init's mounts are no longer peers or
///   slaves of the host's, which the bind may be asked to be;
/// - a recursive source that contains the container's root: a copy made later would
///   include what is mounted there so far, a /proc without masks among it.
fn deferred_kind(plan: &Plan, mount: &MountPlan, root: &HostRoot) -> Result<Option<SourceKind>> {
    let MountKind::Bind { source, recursive, inside: None, links } = &mount.kind else { return Ok(None) };
    let follows_host = matches!(plan.root_propagation, 0 | PROPAGATION_SLAVE);
    if !init_has_caller_rights(plan) || mount.idmap.is_some() || !follows_host {
        return Ok(None);
    }
    let what = || format!("bind mount source {}", source.display());
    if !recursive || !links.follows_source() {
        return check_exists(source, root, *links).doing(what).map(Some);
    }
    Ok((!contains_root(source, root).doing(what)?).then_some(SourceKind::Unknown))
}

/// A detached mount of the host's /dev/null, to mask files. Its device number is checked:
/// if another file lay there, the masked file would show its content, and could be
/// written (CVE-2025-31133).
fn clone_dev_null() -> Result<OwnedFd> {
    let what = || "open /dev/null";
    let tree = clone_tree(Path::new("/dev/null"), false).doing(what)?;
    let stat = rustix::fs::fstat(&tree).doing(what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != rustix::fs::makedev(1, 3) {
        bail!("/dev/null of the host is not the null device");
    }
    Ok(tree)
}

/// The host's device node at the same path, as a detached mount (nosuid, noexec).
pub fn clone_device(node: &Node) -> Result<OwnedFd> {
    let path = Path::new("/").join(node.path.to_string());
    let what = || format!("open device {}", path.display());
    let tree = clone_tree(&path, false).doing(what)?;
    let attr = MountAttr { set: ATTR_NOSUID | ATTR_NOEXEC, ..MountAttr::default() };
    setattr(tree.as_fd(), false, &attr).doing(what)?;
    Ok(tree)
}

/// The cgroups for the first cgroup mount of the plan, if there is one.
fn clone_cgroups_of_first_mount(plan: &Plan, cgroup: &Cgroup) -> Result<Option<Cgroups>> {
    let mount = plan.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Cgroup { .. }));
    mount.map(|mount| clone_cgroups(plan, mount, cgroup)).transpose()
}

/// Opens the cgroups of a cgroup mount. In a cgroup namespace the container sees its own
/// cgroup as the root; without one, the whole hierarchy of cgroup v2, as with runc.
pub fn clone_cgroups(plan: &Plan, mount: &MountPlan, cgroup: &Cgroup) -> Result<Cgroups> {
    let private = plan.namespaces.has(clone::NEWCGROUP);
    // Private: mounts of the host below it do not propagate here, and criu need not
    // restore a peer group.
    let own = MountAttr { propagation: PROPAGATION_PRIVATE, ..MountAttr::default() };
    let mut attr = merge_attrs(merge_attrs(own, mount.recursive_attr), mount.attr);
    if !private && plan.namespaces.has(clone::NEWUSER) {
        // Without a cgroup namespace, cgroups of the same user outside of the container
        // would be writable (CVE-2023-25809).
        attr = merge_attrs(attr, MountAttr { set: ATTR_RDONLY, ..MountAttr::default() });
    }
    if cgroup.dirs.is_empty() {
        return clone_parent_hierarchies(private, attr);
    }
    let clone_dir = |dir: &crate::cgroup::Dir| {
        let path = if cgroup.pure_v2 && !private { Path::new("/sys/fs/cgroup") } else { &dir.path };
        let name = if cgroup.pure_v2 { "" } else { dir.shown_as() };
        let tree = match clone_tree(path, true) {
            // Not mounted on this host.
            Err(Errno::NOENT) => return Ok(None),
            tree => tree.doing(|| format!("open cgroup {}", path.display()))?,
        };
        setattr(tree.as_fd(), true, &attr).doing(|| format!("open cgroup {}", path.display()))?;
        Ok(Some((name.to_owned(), tree)))
    };
    cgroup.dirs.iter().filter_map(|dir| clone_dir(dir).transpose()).collect()
}

/// The cgroup mount of a container without a cgroup of its own, such as an unprivileged
/// user's: the hierarchies of the caller, read-only.
fn clone_parent_hierarchies(private: bool, attr: MountAttr) -> Result<Cgroups> {
    const MOUNT: &str = "/sys/fs/cgroup";
    let what = || format!("clone the mount {MOUNT}");
    let attr = merge_attrs(attr, MountAttr { set: ATTR_RDONLY, ..MountAttr::default() });
    let top = match rustix::fs::open(MOUNT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        top => top.doing(what)?,
    };
    let tree = if private && kernel_fs_type(&top)? == Some("cgroup2") {
        // Shows the caller's cgroup as the root, where the cgroup namespace begins.
        let fs = FsContext::open("cgroup2")?;
        fs.set_option("source", Some("cgroup2"))?;
        fs.mount(MountAttrFlags::empty(), &mut CloseBatch::default())?
    } else {
        // Recursive: in a user namespace the mounts below are locked, EINVAL without them.
        clone_tree(Path::new(MOUNT), true).doing(what)?
    };
    setattr(tree.as_fd(), true, &attr).doing(what)?;
    Ok(vec![(String::new(), tree)])
}
