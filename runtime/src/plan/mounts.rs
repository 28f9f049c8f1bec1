//! Mounts: from the strings of config.json to typed mounts.

pub use super::mount_options::Links;
use super::mount_options::{self, Options};
use super::namespaces::IdMaps;
use crate::bail;
use crate::error::{Error, Result};
use crate::path::InRoot;
use crate::spec::linux::IdMapping;
use crate::spec::mount::Mount;
use crate::sys::mount::{self as attr, MountAttr};
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A mount.
#[derive(Debug)]
pub struct MountPlan {
    pub target: InRoot,
    pub kind: MountKind,
    /// Attributes of this mount alone (`attr`), and with all mounts below it (`recursive_attr`).
    pub attr: MountAttr,
    pub recursive_attr: MountAttr,
    pub propagation: Option<(u64, bool)>,
    pub idmap: Option<Idmap>,
    /// Made read-only after everything below it was created.
    pub read_only_last: bool,
}

/// An ID-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    /// From ids of the file system to ids that are shown; None: the container's mapping.
    pub maps: Option<IdMaps>,
    /// AT_RECURSIVE.
    pub recursive: bool,
}

/// What is mounted.
#[derive(Debug)]
pub enum MountKind {
    /// A file or directory of the host; `inside` the container's root if its path is. Sources
    /// outside are opened before the root is entered.
    Bind { source: PathBuf, recursive: bool, inside: Option<InRoot>, links: Links },
    /// A new file system: its type, source and options.
    FileSystem { kind: String, source: String, data: Vec<(String, Option<String>)>, copy_up: bool },
    /// The container's cgroups, of either version, with options of cgroup v2.
    Cgroup { data: Vec<(String, Option<String>)> },
}

/// Files of /proc that may be mounted over: those of lxcfs and the like. Elsewhere a mount over
/// /proc could redirect writes of the runtime, such as of LSM labels (CVE-2019-19921).
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

/// Whether a mount at `target` is allowed.
pub fn may_cover(target: &InRoot, kind: &MountKind) -> bool {
    let proc = InRoot::new("/proc");
    if !proc.contains(target) {
        return true;
    }
    match kind {
        MountKind::FileSystem { kind, .. } if kind == "proc" => *target == proc,
        // Engines that share the host's pid namespace bind its /proc.
        MountKind::Bind { source, .. } if *target == proc => source == Path::new("/proc"),
        MountKind::Bind { .. } => PROC_FILES.iter().any(|file| InRoot::new(file) == *target),
        _ => false,
    }
}

/// What mounts depend on.
#[derive(Debug, Clone, Copy)]
pub struct PlanContext<'a> {
    /// Absolute; relative sources are below it.
    pub bundle: &'a Path,
    /// Absolute. Destinations may be paths in the container or, as for runc, paths below it.
    pub rootfs: &'a Path,
    /// SELinux label for file systems of the container.
    pub label: Option<&'a str>,
    /// The id mappings of the container; None without a user namespace.
    pub id_maps: Option<&'a IdMaps>,
}

/// Plans all mounts, in order. Errors: a destination, source or option that is not allowed.
pub fn plan(mounts: &[Mount], context: &PlanContext<'_>) -> Result<Vec<MountPlan>> {
    let label = context.label;
    let mut plans = mounts.iter().map(|mount| plan_one(mount, context)).collect::<Result<Vec<_>>>()?;
    for plan in &mut plans {
        if let (MountKind::FileSystem { kind, data, .. }, Some(label)) = (&mut plan.kind, label)
            // The kernel labels the files of these itself.
            && !matches!(kind.as_str(), "proc" | "sysfs" | "mqueue")
        {
            data.push(("context".into(), Some(label.to_owned())));
        }
    }
    put_off_read_only(&mut plans);
    Ok(plans)
}

/// Delays read-only for mounts in which later mounts, devices or copies into a tmpfs need mount
/// points.
fn put_off_read_only(plans: &mut [MountPlan]) {
    let dev = InRoot::new("/dev");
    // Parent directories of later targets.
    let mut above = HashSet::new();
    for plan in plans.iter_mut().rev() {
        if plan.attr.set & attr::ATTR_RDONLY != 0
            && let MountKind::FileSystem { kind, copy_up, .. } = &plan.kind
            // Nothing can be created in these.
            && !matches!(kind.as_str(), "proc" | "sysfs")
            && (*copy_up || plan.target == dev || above.contains(&plan.target))
        {
            plan.attr.set &= !attr::ATTR_RDONLY;
            plan.read_only_last = true;
        }
        let mut place = plan.target.clone();
        while above.insert(place.clone()) && !place.is_root() {
            (place, _) = place.parent_and_name();
        }
    }
}

/// `path` of the host as a path in the container, if it is below its root.
fn below(rootfs: &Path, path: &Path) -> Option<InRoot> {
    let rest = path.strip_prefix(rootfs).ok()?;
    // `..` could leave the root.
    let stays = rest.components().all(|part| part != Component::ParentDir);
    stays.then(|| InRoot::new(rest.as_os_str().as_bytes()))
}

fn plan_one(mount: &Mount, context: &PlanContext<'_>) -> Result<MountPlan> {
    let PlanContext { bundle, rootfs, .. } = *context;
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
    let options = mount_options::parse(&mount.kind, &mount.options);
    let kind = kind(mount, &options, bundle, rootfs)?;
    if !may_cover(&target, &kind) {
        bail!("mounts: {name:?} may not be mounted over: it is inside /proc");
    }
    Ok(MountPlan {
        propagation: options.propagation,
        attr: options.attr,
        recursive_attr: options.recursive_attr,
        idmap: idmap(mount, &options, context.id_maps)?,
        read_only_last: false,
        target,
        kind,
    })
}

fn idmap(mount: &Mount, options: &Options, container: Option<&IdMaps>) -> Result<Option<Idmap>> {
    let name = &mount.destination;
    let recursive = options.idmap.as_ref().is_some_and(|option| option.recursive);
    if let Some(map) = options.idmap.as_ref().and_then(|option| option.map.as_deref()) {
        if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
            bail!("mounts: {name:?} has uidMappings or gidMappings, and the option idmap={map} beside them");
        }
        let Some(maps) = id_maps(map, container) else {
            bail!(
                "mounts: {name:?} has the option idmap={map}: it is uids=A-B-N;gids=A-B-N, \
                 as id of the file system, id that is seen and how many, more of them after #; \
                 @ before one makes B an id of the container's user namespace"
            );
        };
        return Ok(Some(Idmap { maps: Some(maps), recursive }));
    }
    match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
        (true, true) => Ok(options.idmap.as_ref().map(|_| Idmap { maps: None, recursive })),
        (false, false) => {
            let maps = IdMaps { uids: mount.uid_mappings.clone(), gids: mount.gid_mappings.clone() };
            Ok(Some(Idmap { maps: Some(maps), recursive }))
        }
        _ => bail!("mounts: {name:?} must have uidMappings and gidMappings, or neither"),
    }
}

/// The value of `idmap=`, crun(1), "idmap mount options".
fn id_maps(text: &str, container: Option<&IdMaps>) -> Option<IdMaps> {
    let mut maps = IdMaps::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        match part.split_once('=')? {
            ("uids", list) => maps.uids = ranges(list, container.map(|maps| maps.uids.as_slice()))?,
            ("gids", list) => maps.gids = ranges(list, container.map(|maps| maps.gids.as_slice()))?,
            _ => return None,
        }
    }
    (!maps.uids.is_empty() && !maps.gids.is_empty()).then_some(maps)
}

fn ranges(list: &str, container: Option<&[IdMapping]>) -> Option<Vec<IdMapping>> {
    list.split('#').filter(|range| !range.is_empty()).map(|range| one_range(range, container)).collect()
}

fn one_range(text: &str, container: Option<&[IdMapping]>) -> Option<IdMapping> {
    let (text, relative) = text.strip_prefix('@').map_or((text, false), |text| (text, true));
    let numbers = text.split('-').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let [container_id, mut host_id, size] = numbers[..] else { return None };
    if relative {
        let maps = |map: &&IdMapping| host_id.checked_sub(map.container_id).is_some_and(|at| at < map.size);
        let map = container?.iter().find(maps)?;
        host_id = map.host_id.checked_add(host_id - map.container_id)?;
    }
    Some(IdMapping { container_id, host_id, size })
}

fn kind(mount: &Mount, options: &Options, bundle: &Path, rootfs: &Path) -> Result<MountKind> {
    let bind = match (options.bind, mount.kind.as_str()) {
        (Some(recursive), _) => Some(recursive),
        // Engines write the type bind alone for a recursive bind mount.
        (None, "bind" | "rbind") => Some(true),
        _ => None,
    };
    if let Some(recursive) = bind {
        if mount.source.is_empty() {
            bail!("mounts: the bind mount at {:?} has no source", mount.destination);
        }
        if let Some(option) = options.unknown_to_binds() {
            bail!(
                "mounts: the bind mount at {:?} has the option {option:?}, which is none of a bind's: \
                 `firn features` lists those that are",
                mount.destination
            );
        }
        let links = options.links;
        if links.copy && (links.source_nofollow || links.target_nofollow) {
            bail!("mounts: {:?}: copy-symlink excludes src-nofollow and dest-nofollow", mount.destination);
        }
        let source = bundle.join(&mount.source);
        return Ok(MountKind::Bind { inside: below(rootfs, &source), source, recursive, links });
    }
    match mount.kind.as_str() {
        "cgroup" | "cgroup2" => Ok(MountKind::Cgroup { data: pairs(options) }),
        "" => Err(Error::new(format!("mounts: {:?} has no type", mount.destination))),
        kind => Ok(MountKind::FileSystem {
            kind: kind.to_owned(),
            source: if mount.source.is_empty() { kind.to_owned() } else { mount.source.clone() },
            data: pairs(options),
            copy_up: options.copy_up,
        }),
    }
}

fn pairs(options: &Options) -> Vec<(String, Option<String>)> {
    options.data.iter().map(|option| pair(option)).collect()
}

fn pair(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}

/// `linux.rootfsPropagation`: how mounts of the host propagate to the container. The default, 0:
/// slave, as under runc: mounts propagate in and not out, except into the root itself, which is
/// private.
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

    fn planned(mount: &Mount) -> Result<MountPlan> {
        let container = IdMaps {
            uids: vec![IdMapping { container_id: 0, host_id: 1000, size: 10 }],
            gids: vec![IdMapping { container_id: 0, host_id: 2000, size: 10 }],
        };
        let context = PlanContext {
            bundle: Path::new("/b"),
            rootfs: Path::new("/b/rootfs"),
            label: None,
            id_maps: Some(&container),
        };
        plan_one(mount, &context)
    }

    fn refused(mount: Mount) -> String {
        planned(&mount).unwrap_err().chain()
    }

    #[test]
    fn mappings_in_an_option_are_read_as_crun_reads_them() {
        let maps = |option: &str| {
            let mount = planned(&mount("/d", "bind", "/a", &["rbind", option])).unwrap();
            let maps = mount.idmap.unwrap().maps.unwrap();
            (IdMaps::text(&maps.uids), IdMaps::text(&maps.gids))
        };
        assert_eq!(maps("idmap=uids=0-1-10#10-21-10;gids=@0-3-5"), ("0 1 10\n10 21 10\n".into(), "0 2003 5\n".into()));
        for bad in ["uids=0-1-1", "uids=0-1;gids=0-1-1", "x=1", "uids=a-1-1;gids=0-1-1", "uids=@0-50-1;gids=0-1-1"] {
            assert!(refused(mount("/d", "bind", "/a", &[&format!("idmap={bad}")])).contains(bad), "{bad}");
        }
    }

    #[test]
    fn an_option_that_a_bind_can_not_have_is_an_error() {
        let error = refused(mount("/d", "bind", "/a", &["rbind,mode=700"]));
        assert!(error.contains("\"mode=700\", which is none of a bind's"), "{error}");
        assert!(planned(&mount("/d", "bind", "/a", &["rbind", "sync", "dest-nofollow"])).is_ok());
        assert!(refused(mount("/d", "bind", "/a", &["copy-symlink", "src-nofollow"])).contains("excludes"));
    }

    #[test]
    fn a_path_that_leaves_the_root_again_is_not_inside() {
        assert_eq!(below(Path::new("/b/rootfs"), Path::new("/b/rootfs/./x")), Some(InRoot::new("x")));
        assert_eq!(below(Path::new("/b/rootfs"), Path::new("/b/rootfs/../x")), None);
    }

    #[test]
    fn sources_are_relative_to_the_bundle() {
        let planned = planned(&mount("data", "", "volumes/x", &["bind", "ro"])).unwrap();
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
        assert!(planned(&mount("/proc/meminfo", "bind", "/a", &[])).is_ok());
        assert!(planned(&mount("/proc", "proc", "proc", &[])).is_ok());
        assert!(planned(&mount("/proc", "bind", "/proc", &["rbind"])).is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(refused(mount("/", "tmpfs", "", &[])), "mounts: \"/\" would cover the root file system");
        assert!(refused(mount("/b/rootfs", "tmpfs", "", &[])).contains("would cover the root"));
        assert_eq!(refused(mount("/a", "", "", &[])), "mounts: \"/a\" has no type");
        assert_eq!(refused(mount("/a", "bind", "", &[])), "mounts: the bind mount at \"/a\" has no source");
    }
}
