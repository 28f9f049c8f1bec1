//! The namespaces that are created, and those that are joined.

use crate::bail;
use crate::error::Result;
use crate::spec::linux::{IdMapping, Linux};
use crate::sys::clone;
use std::path::PathBuf;

/// In the order of joining: user first, because it gives the capabilities to join the others
/// (setns(2)); mount last, because paths resolve differently in it.
pub const KINDS: [(&str, u64); 8] = [
    ("user", clone::NEWUSER),
    ("pid", clone::NEWPID),
    ("network", clone::NEWNET),
    ("ipc", clone::NEWIPC),
    ("uts", clone::NEWUTS),
    ("cgroup", clone::NEWCGROUP),
    ("time", clone::NEWTIME),
    ("mount", clone::NEWNS),
];

/// The namespaces of a container.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// CLONE_NEW* flags of those to create.
    pub new: u64,
    /// CLONE_NEW* flag and file of those to join, in order.
    pub join: Vec<(u64, PathBuf)>,
}

impl Namespaces {
    /// Whether a namespace of this kind is created.
    pub fn makes(&self, kind: u64) -> bool {
        self.new & kind != 0
    }

    /// Whether a namespace of this kind is joined.
    pub fn joins(&self, kind: u64) -> bool {
        self.join.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether a pid namespace is joined: the final process is then created last, by a process
    /// outside (`init/pid_namespace.rs`).
    pub fn joins_pid(&self) -> bool {
        self.joins(clone::NEWPID)
    }

    /// Whether a user namespace is created and a pid namespace joined, for which the capabilities
    /// are then missing: init unshares and joins both itself.
    pub fn unshares_in_init(&self) -> bool {
        self.joins_pid() && self.makes(clone::NEWUSER)
    }

    /// Whether a namespace of this kind is created or joined.
    pub fn has(&self, kind: u64) -> bool {
        self.makes(kind) || self.joins(kind)
    }
}

/// Errors: a namespace that is listed twice, unknown, or has a relative path.
pub fn plan(linux: &Linux) -> Result<Namespaces> {
    let mut namespaces = Namespaces::default();
    for (name, flag) in KINDS {
        let mut entries = linux.namespaces.iter().filter(|ns| ns.kind == name);
        let Some(entry) = entries.next() else { continue };
        if entries.next().is_some() {
            bail!("linux.namespaces has {name:?} twice");
        }
        if entry.path.is_empty() {
            namespaces.new |= flag;
        } else if entry.path.starts_with('/') {
            namespaces.join.push((flag, PathBuf::from(&entry.path)));
        } else {
            bail!("linux.namespaces: path {:?} of {name:?} must be absolute", entry.path);
        }
    }
    for entry in &linux.namespaces {
        if !KINDS.iter().any(|(name, _)| *name == entry.kind) {
            bail!("linux.namespaces: namespace {:?} does not exist", entry.kind);
        }
    }
    Ok(namespaces)
}

/// The id mappings of a new user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

impl IdMaps {
    /// In the format of /proc/PID/uid_map, user_namespaces(7).
    pub fn text(maps: &[IdMapping]) -> String {
        maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    }

    /// The reverse of [`IdMaps::text`]. None for another text.
    pub fn parse(text: &str) -> Option<Vec<IdMapping>> {
        let line = |line: &str| {
            let mut fields = line.split_whitespace().map(|field| field.parse().ok());
            let mut next = || fields.next().flatten();
            Some(IdMapping { container_id: next()?, host_id: next()?, size: next()? })
        };
        text.lines().map(line).collect()
    }

    /// The host's id for the container's.
    pub fn host_id(maps: &[IdMapping], id: u32) -> Option<u32> {
        maps.iter().find_map(|map| {
            let at = id.checked_sub(map.container_id).filter(|at| *at < map.size)?;
            map.host_id.checked_add(at)
        })
    }

    /// Whether the container has an id for the host's.
    pub fn contains(maps: &[IdMapping], host_id: u32) -> bool {
        maps.iter().any(|map| host_id.checked_sub(map.host_id).is_some_and(|at| at < map.size))
    }

    /// Whether each id is the same on the host.
    pub fn are_identity(&self) -> bool {
        self.uids.iter().chain(&self.gids).all(|map| map.container_id == map.host_id)
    }
}

/// The host uid of the container's `uid`; None if unknown.
pub fn host_uid(uid: u32, namespaces: &Namespaces, maps: Option<&IdMaps>) -> Option<u32> {
    match maps {
        Some(maps) => IdMaps::host_id(&maps.uids, uid),
        // The mappings of a joined user namespace are not known here.
        None => (!namespaces.joins(clone::NEWUSER)).then_some(uid),
    }
}

/// Mappings without a new user namespace are ignored, as by runc. Errors: a new user namespace
/// without mappings, or without one for id 0.
pub fn id_maps(linux: &Linux, namespaces: &Namespaces) -> Result<Option<IdMaps>> {
    let (uids, gids) = (linux.uid_mappings.clone(), linux.gid_mappings.clone());
    if !namespaces.makes(clone::NEWUSER) {
        return Ok(None);
    }
    for (field, id, maps) in [("uidMappings", "uid", &uids), ("gidMappings", "gid", &gids)] {
        if maps.is_empty() {
            bail!("a new \"user\" namespace needs linux.{field}");
        }
        if maps.iter().any(|map| map.size == 0) {
            bail!("linux.{field} has a mapping of size 0");
        }
        // Init sets up the root file system as root of the user namespace.
        if !maps.iter().any(|map| map.container_id == 0) {
            bail!("user namespaces enabled, but no mapping found for {id} 0 (linux.{field})");
        }
    }
    Ok(Some(IdMaps { uids, gids }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::linux::Namespace;

    fn linux(kinds: &[(&str, &str)]) -> Linux {
        let namespace = |(kind, path): &(&str, &str)| Namespace { kind: (*kind).into(), path: (*path).into() };
        Linux { namespaces: kinds.iter().map(namespace).collect(), ..Linux::default() }
    }

    #[test]
    fn joined_ones_are_ordered_user_first() {
        let planned = plan(&linux(&[("mount", ""), ("ipc", "/i"), ("user", "/u"), ("pid", "")])).unwrap();
        assert_eq!(planned.new, clone::NEWNS | clone::NEWPID);
        let order: Vec<_> = planned.join.iter().map(|(flag, _)| *flag).collect();
        assert_eq!(order, [clone::NEWUSER, clone::NEWIPC]);
    }

    #[test]
    fn root_must_be_mapped() {
        let map = |container_id| IdMapping { container_id, host_id: 100_000, size: 10 };
        let mut linux = linux(&[("user", "")]);
        (linux.uid_mappings, linux.gid_mappings) = (vec![map(0)], vec![map(1), map(0)]);
        let namespaces = plan(&linux).unwrap();
        assert!(id_maps(&linux, &namespaces).is_ok());
        linux.gid_mappings.pop();
        let error = id_maps(&linux, &namespaces).unwrap_err().chain();
        assert_eq!(error, "user namespaces enabled, but no mapping found for gid 0 (linux.gidMappings)");
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |kinds: &[(&str, &str)]| plan(&linux(kinds)).unwrap_err().chain();
        assert_eq!(refused(&[("mount", ""), ("dream", "")]), "linux.namespaces: namespace \"dream\" does not exist");
        assert_eq!(refused(&[("mount", ""), ("mount", "")]), "linux.namespaces has \"mount\" twice");
        assert!(refused(&[("mount", ""), ("pid", "ns/pid")]).contains("must be absolute"));
    }
}
