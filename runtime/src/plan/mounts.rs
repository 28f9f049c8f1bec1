//! Mounts: from the strings of config.json to typed steps.

use super::mount_options::{self, Options};
use super::namespaces::IdMaps;
use crate::bail;
use crate::error::{Error, Result};
use crate::path::InRoot;
use crate::spec::mount::Mount;
use crate::sys::mount::{self as attr, MountAttr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct MountPlan {
    pub target: InRoot,
    pub kind: MountKind,
    /// Of this mount, and of it and all mounts below.
    pub attr: MountAttr,
    pub recursive_attr: MountAttr,
    pub propagation: Option<(u64, bool)>,
    pub idmap: Option<Idmap>,
    /// Read-only when all that lies below is made.
    pub read_only_last: bool,
}

/// Other owners for the files that a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    /// From the ids in the file system to those that are seen; None: the
    /// container's own mapping.
    pub maps: Option<IdMaps>,
    /// Of the mounts below, too.
    pub recursive: bool,
}

#[derive(Debug)]
pub enum MountKind {
    /// A file or directory of the host, or `inside` the container's root.
    Bind { source: PathBuf, recursive: bool, inside: Option<InRoot> },
    /// A new file system: its type, source, and own options.
    FileSystem { kind: String, source: String, data: Vec<(String, Option<String>)>, copy_up: bool },
    /// The container's own view of its cgroups, by whatever version there is.
    Cgroup,
}

/// Files that a mount may cover in /proc: those that lxcfs and friends provide
/// (CVE-2019-19921 came from mounts over other parts of it).
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Whether a mount may stand at `target` while the container starts.
pub fn may_cover(target: &InRoot, kind: &MountKind) -> bool {
    let proc = InRoot::new("/proc");
    if !proc.contains(target) {
        return true;
    }
    match kind {
        MountKind::FileSystem { kind, .. } if kind == "proc" => *target == proc,
        // An engine shares the host's pid namespace and so its /proc.
        MountKind::Bind { source, .. } if *target == proc => source == Path::new("/proc"),
        MountKind::Bind { .. } => PROC_FILES.iter().any(|file| InRoot::new(file) == *target),
        _ => false,
    }
}

/// `label` is SELinux's, for the file systems that are the container's own. Paths
/// may be those in the container or, as for runc, what they are below `rootfs`.
pub fn plan(mounts: &[Mount], bundle: &Path, rootfs: &Path, label: Option<&str>) -> Result<Vec<MountPlan>> {
    let mut plans = mounts.iter().map(|mount| one(mount, bundle, rootfs)).collect::<Result<Vec<_>>>()?;
    for plan in &mut plans {
        if let (MountKind::FileSystem { kind, data, .. }, Some(label)) = (&mut plan.kind, label)
            // The kernel labels what these show itself.
            && !matches!(kind.as_str(), "proc" | "sysfs" | "mqueue")
        {
            data.push(("context".into(), Some(label.to_owned())));
        }
    }
    put_off_read_only(&mut plans);
    Ok(plans)
}

/// Places for what comes later are made in what comes first: mounts, devices, and
/// what is copied into a tmpfs.
fn put_off_read_only(plans: &mut [MountPlan]) {
    let dev = InRoot::new("/dev");
    for number in 0..plans.len() {
        let (before, later) = plans.split_at_mut(number + 1);
        let plan = &mut before[number];
        let MountKind::FileSystem { kind, copy_up, .. } = &plan.kind else { continue };
        // In these the kernel makes what there is.
        if matches!(kind.as_str(), "proc" | "sysfs") {
            continue;
        }
        let has_below = || later.iter().any(|later| plan.target.contains(&later.target));
        if plan.attr.set & attr::ATTR_RDONLY != 0 && (*copy_up || plan.target == dev || has_below()) {
            plan.attr.set &= !attr::ATTR_RDONLY;
            plan.read_only_last = true;
        }
    }
}

/// What the host's path `path` is in the container, if it lies in its root.
fn below(rootfs: &Path, path: &Path) -> Option<InRoot> {
    path.strip_prefix(rootfs).ok().map(|path| InRoot::new(path.as_os_str().as_bytes()))
}

fn one(mount: &Mount, bundle: &Path, rootfs: &Path) -> Result<MountPlan> {
    let name = &mount.destination;
    if name.is_empty() {
        bail!("mounts: a destination is missing");
    }
    let target = below(rootfs, Path::new(name)).unwrap_or_else(|| InRoot::new(name));
    if target.is_root() {
        bail!("mounts: {name:?} would cover the root file system");
    }
    if [name, &mount.source, &mount.kind].iter().any(|s| s.contains('\0'))
        || mount.options.iter().any(|o| o.contains('\0'))
    {
        bail!("mounts: {name:?} has a NUL byte");
    }
    let options = mount_options::parse(&mount.options);
    let kind = kind(mount, &options, bundle, rootfs)?;
    if !may_cover(&target, &kind) {
        bail!("mounts: {name:?} may not be mounted over: it is inside /proc");
    }
    Ok(MountPlan {
        propagation: options.propagation,
        attr: options.attr,
        recursive_attr: options.recursive_attr,
        idmap: idmap(mount, &options)?,
        read_only_last: false,
        target,
        kind,
    })
}

fn idmap(mount: &Mount, options: &Options) -> Result<Option<Idmap>> {
    let name = &mount.destination;
    let recursive = options.idmap == Some(true);
    match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
        (true, true) => Ok(options.idmap.map(|_| Idmap { maps: None, recursive })),
        (false, false) => {
            let maps = IdMaps { uids: mount.uid_mappings.clone(), gids: mount.gid_mappings.clone() };
            Ok(Some(Idmap { maps: Some(maps), recursive }))
        }
        _ => bail!("mounts: {name:?} must have uidMappings and gidMappings, or neither"),
    }
}

fn kind(mount: &Mount, options: &Options, bundle: &Path, rootfs: &Path) -> Result<MountKind> {
    let bind = match (options.bind, mount.kind.as_str()) {
        (Some(recursive), _) => Some(recursive),
        // Engines write the type alone, and mean the whole tree.
        (None, "bind" | "rbind") => Some(true),
        _ => None,
    };
    if let Some(recursive) = bind {
        if mount.source.is_empty() {
            bail!("mounts: the bind mount at {:?} has no source", mount.destination);
        }
        let source = bundle.join(&mount.source);
        return Ok(MountKind::Bind { inside: below(rootfs, &source), source, recursive });
    }
    match mount.kind.as_str() {
        "cgroup" | "cgroup2" => Ok(MountKind::Cgroup),
        "" => Err(Error::new(format!("mounts: {:?} has no type", mount.destination))),
        kind => Ok(MountKind::FileSystem {
            kind: kind.to_owned(),
            source: if mount.source.is_empty() { kind.to_owned() } else { mount.source.clone() },
            data: options.data.iter().map(|option| pair(option)).collect(),
            copy_up: options.copy_up,
        }),
    }
}

fn pair(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}

/// `linux.rootfsPropagation`: what the host's mounts do in the container's
/// namespace. By default, 0, its mounts are slaves, as for runc: changes come in,
/// none go out; but nothing comes into the root itself.
pub fn root_propagation(value: &str) -> Result<u64> {
    match value {
        "" => Ok(0),
        "slave" | "rslave" => Ok(attr::PROPAGATION_SLAVE),
        "shared" | "rshared" => Ok(attr::PROPAGATION_SHARED),
        "private" | "rprivate" => Ok(attr::PROPAGATION_PRIVATE),
        "unbindable" | "runbindable" => Ok(attr::PROPAGATION_UNBINDABLE),
        other => bail!("linux.rootfsPropagation {other:?} is not one of shared, slave, private, unbindable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
        Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: source.into(),
            options: options.iter().map(|s| s.to_string()).collect(),
            ..Mount::default()
        }
    }

    fn refused(mount: Mount) -> String {
        one(&mount, Path::new("/b"), Path::new("/b/rootfs")).unwrap_err().chain()
    }

    #[test]
    fn sources_are_relative_to_the_bundle() {
        let planned =
            one(&mount("data", "", "volumes/x", &["bind", "ro"]), Path::new("/b"), Path::new("/b/rootfs")).unwrap();
        assert_eq!(planned.target.to_string(), "/data");
        assert!(
            matches!(planned.kind, MountKind::Bind { source, recursive: false, .. } if source == Path::new("/b/volumes/x"))
        );
        assert_eq!(planned.attr.set, attr::ATTR_RDONLY);
    }

    #[test]
    fn only_known_files_of_proc_may_be_covered() {
        assert!(refused(mount("/proc/self", "tmpfs", "", &[])).contains("inside /proc"));
        assert!(refused(mount("/x/../proc/sysrq-trigger", "bind", "/a", &[])).contains("inside /proc"));
        assert!(refused(mount("/proc", "bind", "/a", &[])).contains("inside /proc"));
        assert!(refused(mount("/b/rootfs/proc/self", "tmpfs", "", &[])).contains("inside /proc"));
        assert!(one(&mount("/proc/meminfo", "bind", "/a", &[]), Path::new("/b"), Path::new("/b/rootfs")).is_ok());
        assert!(one(&mount("/proc", "proc", "proc", &[]), Path::new("/b"), Path::new("/b/rootfs")).is_ok());
        assert!(one(&mount("/proc", "bind", "/proc", &["rbind"]), Path::new("/b"), Path::new("/b/rootfs")).is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(refused(mount("/", "tmpfs", "", &[])), "mounts: \"/\" would cover the root file system");
        assert!(refused(mount("/b/rootfs", "tmpfs", "", &[])).contains("would cover the root"));
        assert_eq!(refused(mount("/a", "", "", &[])), "mounts: \"/a\" has no type");
        assert_eq!(refused(mount("/a", "bind", "", &[])), "mounts: the bind mount at \"/a\" has no source");
    }
}
