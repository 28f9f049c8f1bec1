//! From what config.json says to what will be done. Planning is pure: it makes
//! nothing, every mistake of the caller is found here, and nobody looks at
//! `Spec` afterwards.

pub mod capabilities;
pub mod cgroup;
pub mod devices;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod process;
pub mod ranges;
pub mod resctrl;
pub mod roots;
pub mod sysctl;

use crate::bail;
use crate::cgroup::systemd::{Unit, properties};
use crate::error::{Context, Error, Result};
use crate::host::{self, Host};
use crate::log::Log;
use crate::path::InRoot;
use crate::seccomp;
use crate::spec::Spec;
use crate::spec::hooks::{Hook, Hooks};
use crate::spec::linux::{Linux, Personality, TimeOffset};
use crate::spec::process::Process;
use crate::sys::clone;
use capabilities::{CapSets, SYS_ADMIN};
use cgroup::CgroupPlan;
use devices::Node;
use mounts::MountPlan;
use namespaces::{IdMaps, Namespaces};
use network::NetDevice;
use process::ProcessPlan;
use resctrl::ResctrlPlan;
use roots::RootsPlan;
use std::collections::{BTreeMap, HashSet};
use std::ffi::CString;
use std::hash::Hash;
use std::path::{Path, PathBuf};

/// All that `create` does, in types that leave nothing to be checked.
#[derive(Debug)]
pub struct Plan {
    pub id: String,
    /// Absolute; the place on which the root is mounted.
    pub rootfs: PathBuf,
    pub roots: Option<RootsPlan>,
    pub readonly_root: bool,
    pub root_propagation: u64,
    pub namespaces: Namespaces,
    pub id_maps: Option<IdMaps>,
    pub hostname: Option<CString>,
    pub domainname: Option<CString>,
    pub time_offsets: BTreeMap<String, TimeOffset>,
    pub mounts: Vec<MountPlan>,
    pub devices: Vec<Node>,
    pub net_devices: Vec<NetDevice>,
    pub masked: Vec<InRoot>,
    pub readonly: Vec<InRoot>,
    /// Path below /proc/sys, and value.
    pub sysctls: Vec<(String, String)>,
    pub cgroup: CgroupPlan,
    pub resctrl: Option<ResctrlPlan>,
    pub process: ProcessPlan,
    pub seccomp: Option<seccomp::Filter>,
    pub hooks: Hooks,
}

/// What a command line adds to the bundle.
#[derive(Debug)]
pub struct Request<'a> {
    pub id: &'a str,
    /// Absolute.
    pub bundle: &'a Path,
    pub roots: Option<RootsPlan>,
    /// systemd is to make the cgroup: the user's, or else the machine's.
    pub systemd: Option<bool>,
}

impl Plan {
    /// Who runs the container's program, as a user of the host, if that is known.
    pub fn owner(&self) -> Option<u32> {
        namespaces::host_uid(self.process.uid, &self.namespaces, self.id_maps.as_ref())
    }
}

pub fn plan(spec: &Spec, request: Request<'_>, host: &Host, log: &Log) -> Result<Plan> {
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let namespaces = namespaces::plan(linux)?;
    let Some(process) = &spec.process else { bail!("process is missing") };
    let Some(root) = &spec.root else { bail!("root is missing") };
    let name = |value: &str, field: &str| name(value, field, &namespaces);
    let unit = match request.systemd {
        None => None,
        Some(of_user) => Some(Unit::new(&linux.cgroups_path, request.id, of_user)?),
    };
    let resources = linux.resources.clone().unwrap_or_default().of_version(&spec.oci_version);
    // One of somebody else's stays as it is.
    let own_mounts = namespaces.makes(clone::NEWNS);
    if !own_mounts {
        if request.roots.is_some() {
            bail!("a root of layers or of a closure (firn.json) needs a new \"mount\" namespace");
        }
        log.warn("without a new mount namespace, mounts, devices, masked and read-only paths are passed over");
    }
    let of_container = spec.hooks.as_ref().map_or(&[][..], |hooks| &hooks.create_container);
    if namespaces.enters_by_itself() && !of_container.is_empty() {
        bail!(
            "hooks.createContainer can't run where a pid namespace is joined and a user namespace made: \
             all in the pid namespace could use the host's root through them"
        );
    }
    let place = rootfs(&root.path, request.bundle, request.roots.is_some())?;
    let if_own = |list: &[String]| if own_mounts { list.to_vec() } else { Vec::new() };
    Ok(Plan {
        id: request.id.to_owned(),
        rootfs: place.clone(),
        readonly_root: root.readonly && own_mounts,
        root_propagation: mounts::root_propagation(&linux.rootfs_propagation)?,
        id_maps: namespaces::id_maps(linux, &namespaces)?,
        hostname: name(&spec.hostname, "hostname")?,
        domainname: name(&spec.domainname, "domainname")?,
        time_offsets: time_offsets(linux, &namespaces)?,
        mounts: if own_mounts {
            mounts_of(spec, (request.bundle, &place), linux, &namespaces, host)?
        } else {
            Vec::new()
        },
        devices: if own_mounts { devices::plan(&linux.devices)? } else { Vec::new() },
        net_devices: network::plan(&linux.net_devices, &namespaces, host::is_rootless())?,
        masked: once(inside(&if_own(&linux.masked_paths), "linux.maskedPaths")?),
        readonly: once(inside(&if_own(&linux.readonly_paths), "linux.readonlyPaths")?),
        sysctls: sysctl::plan(spec, linux, &namespaces)?,
        cgroup: CgroupPlan {
            properties: properties::of_annotations(&spec.annotations)?,
            ..cgroup::plan(&linux.cgroups_path, request.id, &resources, host.cgroups.pure_v2, unit)?
        },
        resctrl: linux.intel_rdt.as_ref().map(resctrl::plan).transpose()?,
        process: ProcessPlan {
            memory_policy: linux.memory_policy.as_ref().map(process::memory_policy).transpose()?,
            keeps_groups: keeps_groups(spec),
            has_cpuset: has_cpuset(linux),
            personality: linux.personality.as_ref().map(personality).transpose()?,
            ..process::plan(process, capabilities(&namespaces, host), log)?
        },
        seccomp: filter(linux, log)?,
        hooks: hooks(spec.hooks.clone().unwrap_or_default())?,
        roots: request.roots,
        namespaces,
    })
}

/// The plan of another process in a container that runs, with the seccomp
/// profile of its config.
pub fn exec(process: &Process, spec: &Spec, host: &Host, log: &Log) -> Result<(ProcessPlan, Option<seccomp::Filter>)> {
    let filter = spec.linux.as_ref().map(|linux| filter(linux, log)).transpose()?;
    let namespaces = spec.linux.as_ref().map(namespaces::plan).transpose()?.unwrap_or_default();
    let policy = spec.linux.as_ref().and_then(|linux| linux.memory_policy.as_ref());
    let plan = ProcessPlan {
        memory_policy: policy.map(process::memory_policy).transpose()?,
        keeps_groups: keeps_groups(spec),
        has_cpuset: spec.linux.as_ref().is_some_and(has_cpuset),
        personality: spec.linux.as_ref().and_then(|linux| linux.personality.as_ref()).map(personality).transpose()?,
        ..process::plan(process, capabilities(&namespaces, host), log)?
    };
    Ok((plan, filter.flatten()))
}

/// Set by podman for `--group-add keep-groups`: the caller's groups, which podman's user
/// has asked for. As under crun also where the caller is root.
pub const KEEPS_GROUPS: &str = "run.oci.keep_original_groups";

fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations.get(KEEPS_GROUPS).is_some_and(|value| value == "1")
}

fn has_cpuset(linux: &Linux) -> bool {
    linux.resources.as_ref().and_then(|resources| resources.cpu.as_ref()).is_some_and(|cpu| !cpu.cpus.is_empty())
}

/// What can be given: all of them in a user namespace, else what the caller has.
fn capabilities(namespaces: &Namespaces, host: &Host) -> u64 {
    if namespaces.has(clone::NEWUSER) { u64::MAX } else { host.capabilities }
}

fn filter(linux: &Linux, log: &Log) -> Result<Option<seccomp::Filter>> {
    // An empty profile is none, as for runc.
    let given = linux.seccomp.as_ref().filter(|spec| !(spec.default_action.is_empty() && spec.syscalls.is_empty()));
    given.map(|spec| seccomp::compile(spec, log)).transpose().doing(|| "linux.seccomp")
}

fn mounts_of(
    spec: &Spec,
    (bundle, rootfs): (&Path, &Path),
    linux: &Linux,
    namespaces: &Namespaces,
    host: &Host,
) -> Result<Vec<mounts::MountPlan>> {
    let label = process::label(&linux.mount_label, "SELinux", "selinux")?;
    let id_maps = namespaces::id_maps(linux, namespaces)?;
    let around = mounts::Surroundings { bundle, rootfs, label: label.as_deref(), id_maps: id_maps.as_ref() };
    let mounts = mounts::plan(&spec.mounts, &around)?;
    let of_container = |mount: &&mounts::MountPlan| mount.idmap.as_ref().is_some_and(|idmap| idmap.maps.is_none());
    if let Some(mount) = mounts.iter().find(of_container).filter(|_| !namespaces.has(clone::NEWUSER)) {
        bail!("mounts: {} is to have the container's id mapping, but there is no \"user\" namespace", mount.target);
    }
    let options = mounts.iter().find_map(|mount| match &mount.kind {
        mounts::MountKind::Cgroup { data } => Some((&mount.target, data.first()?)),
        _ => None,
    });
    if let Some((target, (name, _))) = options.filter(|_| host.cgroups.pure_v2 && !namespaces.has(clone::NEWCGROUP)) {
        bail!(
            "mounts: {target} has the option {name:?}, which would change the machine's cgroups: \
             it needs a \"cgroup\" namespace"
        );
    }
    Ok(mounts)
}

/// A root that is moved, and not pivoted to, lies on the host's. Whoever may unmount
/// in the container's mount namespace takes it away there, and then joins the
/// namespace once more, whose root is the host's: umount2(2) with MNT_DETACH, setns(2).
/// Without a user namespace root of the container is root of the host anyway.
pub fn refuse_to_uncover(process: &ProcessPlan, namespaces: &Namespaces) -> Result<()> {
    let CapSets { bounding, effective, permitted, inheritable, ambient } = process.caps;
    let has_right = (bounding | effective | permitted | inheritable | ambient) & SYS_ADMIN != 0;
    if has_right && (namespaces.has(clone::NEWUSER) || host::is_rootless()) {
        bail!(
            "with a user namespace CAP_SYS_ADMIN would uncover the host's root, which lies under the container's: \
             take it from process.capabilities, or do without --no-pivot"
        );
    }
    Ok(())
}

/// Fields whose silent loss would change what the container may do.
fn rootfs(path: &str, bundle: &Path, layered: bool) -> Result<PathBuf> {
    if path.is_empty() && !layered {
        bail!("root.path is missing");
    }
    let path = bundle.join(if path.is_empty() { "rootfs" } else { path });
    let stat = rustix::fs::stat(&path).doing(|| format!("root file system {}", path.display()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        return Err(rustix::io::Errno::NOTDIR).doing(|| format!("root file system {}", path.display()));
    }
    if path == Path::new("/") {
        bail!("root.path is the host's own root");
    }
    Ok(path)
}

fn name(value: &str, field: &str, namespaces: &Namespaces) -> Result<Option<CString>> {
    if value.is_empty() {
        return Ok(None);
    }
    if !namespaces.has(clone::NEWUTS) {
        bail!("{field} {value:?} needs a \"uts\" namespace, or it would be the host's");
    }
    // uts(7): 64 bytes.
    if value.len() > 64 {
        bail!("{field} {value:?} is longer than 64 bytes");
    }
    CString::new(value).map(Some).map_err(|_| Error::new(format!("{field} has a NUL byte")))
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<BTreeMap<String, TimeOffset>> {
    if !linux.time_offsets.is_empty() && !namespaces.makes(clone::NEWTIME) {
        bail!("linux.timeOffsets needs a new \"time\" namespace");
    }
    for clock in linux.time_offsets.keys() {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            bail!("linux.timeOffsets: {clock:?} is not one of monotonic, boottime");
        }
    }
    Ok(linux.time_offsets.clone())
}

fn inside(paths: &[String], field: &str) -> Result<Vec<InRoot>> {
    let convert = |path: &String| {
        if !path.starts_with('/') || path.contains('\0') {
            bail!("{field}: {path:?} must be an absolute path");
        }
        Ok(InRoot::new(path))
    };
    paths.iter().map(convert).collect()
}

/// Each the first time that it is named.
fn once<T: Eq + Hash + Clone>(mut list: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::with_capacity(list.len());
    list.retain(|one| seen.insert(one.clone()));
    list
}

/// personality(2).
fn personality(spec: &Personality) -> Result<u32> {
    const FLAGS: [(&str, u32); 9] = [
        ("UNAME26", 0x0002_0000),
        ("ADDR_NO_RANDOMIZE", 0x0004_0000),
        ("FDPIC_FUNCPTRS", 0x0008_0000),
        ("MMAP_PAGE_ZERO", 0x0010_0000),
        ("ADDR_COMPAT_LAYOUT", 0x0020_0000),
        ("READ_IMPLIES_EXEC", 0x0040_0000),
        ("ADDR_LIMIT_32BIT", 0x0080_0000),
        ("SHORT_INODE", 0x0100_0000),
        ("WHOLE_SECONDS", 0x0200_0000),
    ];
    let mut persona = match spec.domain.as_str() {
        "LINUX" => 0,
        "LINUX32" => 8,
        other => bail!("linux.personality: domain {other:?} is not one of LINUX, LINUX32"),
    };
    for flag in &spec.flags {
        match FLAGS.iter().find(|(name, _)| name == flag) {
            Some((_, bit)) => persona |= bit,
            None => bail!("linux.personality: {flag:?} is not the name of a flag"),
        }
    }
    Ok(persona)
}

fn hooks(hooks: Hooks) -> Result<Hooks> {
    let all: [(&str, &Vec<Hook>); 6] = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, list) in all {
        for hook in list {
            if !hook.path.starts_with('/') {
                bail!("hooks.{kind}: path {:?} must be absolute", hook.path);
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                bail!("hooks.{kind}: the timeout of {} must be greater than zero", hook.path);
            }
        }
    }
    Ok(hooks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(change: &str) -> Result<Plan> {
        let mut config: serde_json::Value = serde_json::from_str(
            r#"{"root":{"path":"/tmp"},"process":{"args":["a"],"cwd":"/"},
                "linux":{"namespaces":[{"type":"mount"},{"type":"uts"},{"type":"ipc"},{"type":"network"}]}}"#,
        )
        .unwrap();
        merge(&mut config, serde_json::from_str(change).unwrap());
        let spec: Spec = serde_json::from_value(config).unwrap();
        let host = Host { euid: 0, capabilities: u64::MAX, cgroups: Default::default() };
        let request = Request { id: "c", bundle: Path::new("/tmp"), roots: None, systemd: None };
        plan(&spec, request, &host, &Log::quiet())
    }

    fn merge(into: &mut serde_json::Value, change: serde_json::Value) {
        match (into, change) {
            (serde_json::Value::Object(into), serde_json::Value::Object(change)) => {
                for (key, value) in change {
                    merge(into.entry(key).or_insert(serde_json::Value::Null), value);
                }
            }
            (into, change) => *into = change,
        }
    }

    fn refused(change: &str) -> String {
        planned(change).unwrap_err().chain()
    }

    #[test]
    fn mistakes_are_named_with_their_field() {
        assert_eq!(refused(r#"{"process":null}"#), "process is missing");
        assert_eq!(refused(r#"{"root":{"path":""}}"#), "root.path is missing");
        assert_eq!(
            refused(r#"{"root":{"path":"/nowhere/at/all"}}"#),
            "root file system /nowhere/at/all: no such file or directory"
        );
        assert!(refused(r#"{"hostname":"x","linux":{"namespaces":[{"type":"mount"}]}}"#).contains("\"uts\" namespace"));
        assert!(refused(r#"{"linux":{"maskedPaths":["proc"]}}"#).contains("must be an absolute path"));
        assert!(refused(r#"{"hooks":{"poststop":[{"path":"x"}]}}"#).contains("hooks.poststop"));
        assert!(refused(r#"{"linux":{"personality":{"domain":"BSD"}}}"#).contains("LINUX32"));
    }

    #[test]
    fn sysctls_belong_to_the_containers_namespaces() {
        let plan =
            planned(r#"{"linux":{"sysctl":{"net.ipv4.conf.eth0/1.rp_filter":"1","kernel.shmmax":"5"}}}"#).unwrap();
        assert_eq!(plan.sysctls[1].0, "net/ipv4/conf/eth0.1/rp_filter");
        for names in [r#"{"kernel.hostname":"a"}"#, r#"{"kernel.domainname":"a"}"#] {
            let config = format!(r#"{{"hostname":"a","domainname":"b","linux":{{"sysctl":{names}}}}}"#);
            assert!(refused(&config).contains("conflicts with the OCI"), "{names}");
        }
        assert!(refused(r#"{"linux":{"sysctl":{"kernel.core_pattern":"|x"}}}"#).contains("not in a namespace"));
        assert!(refused(r#"{"linux":{"sysctl":{"net/../kernel/core_pattern":"|x"}}}"#).contains("not in a namespace"));
    }
}
