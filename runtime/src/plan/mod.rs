//! From config.json to a plan. Planning is pure: it creates and opens nothing. Every mistake in
//! the config or the options is found here; later code uses neither.
//!
//! `Spec` (the bundle) + `Host` + [`Request`] (the caller) → [`Plan`], or [`ExecPlan`].

pub mod capabilities;
pub mod cgroup;
pub mod devices;
pub mod hooks;
pub mod layered_root;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod process;
pub mod ranges;
pub mod request;
pub mod resctrl;
pub mod scheduling;
pub mod seccomp;
pub mod streams;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub mod unique;

use crate::bail;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log::Log;
use crate::path::InRoot;
use crate::seccomp::Filter;
use crate::spec::Spec;
use crate::spec::hooks::Hooks;
use crate::spec::linux::{Linux, TimeOffset};
use crate::spec::mount::Mount;
use crate::spec::process::Process;
use crate::sys::caps::SYS_ADMIN;
use crate::sys::clone;
use capabilities::CapSets;
use cgroup::CgroupPlan;
use cgroup::unit::Unit;
use devices::Node;
use layered_root::LayeredRootPlan;
use mounts::MountPlan;
use namespaces::{IdMaps, Namespaces};
use network::NetDevice;
use process::{Container, ProcessPlan};
use request::{Attachment, CgroupManager, Request};
use resctrl::ResctrlPlan;
use rustix::fd::RawFd;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use unique::unique;

/// Mount point of the notify socket's directory.
const NOTIFY_DIRECTORY: &str = "/run/notify";

/// The input of `create` and `restore`, validated.
#[derive(Debug)]
pub struct Plan {
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// ociVersion of the config; the newest that firn knows if it is absent.
    pub oci_version: String,
    pub annotations: BTreeMap<String, String>,
    /// Absolute path on which the root is mounted.
    pub rootfs: PathBuf,
    pub layered_root: Option<LayeredRootPlan>,
    pub readonly_root: bool,
    pub root_propagation: u64,
    /// MS_MOVE and chroot(2) instead of pivot_root(2).
    pub no_pivot: bool,
    pub namespaces: Namespaces,
    pub id_maps: Option<IdMaps>,
    pub hostname: Option<CString>,
    pub domainname: Option<CString>,
    pub time_offsets: BTreeMap<String, TimeOffset>,
    pub mounts: Vec<MountPlan>,
    /// SELinux label for mount options (`linux.mountLabel`).
    pub mount_label: Option<String>,
    pub devices: Vec<Node>,
    pub net_devices: Vec<NetDevice>,
    pub masked: Vec<InRoot>,
    pub readonly: Vec<InRoot>,
    /// Path below /proc/sys, and value.
    pub sysctls: Vec<(String, String)>,
    pub cgroup: CgroupPlan,
    pub resctrl: Option<ResctrlPlan>,
    /// Create a session keyring instead of keeping the caller's.
    pub new_keyring: bool,
    /// The state directory has a directory for the notify socket, which is one of `mounts`.
    pub has_notify_directory: bool,
    pub process: ProcessPlan,
    pub seccomp: Option<Filter>,
    pub hooks: Hooks,
    /// `run`: init continues when it is ready; otherwise it waits for `start`.
    pub starts_at_once: bool,
}

/// The input of `exec`, validated.
#[derive(Debug)]
pub struct ExecPlan {
    pub process: ProcessPlan,
    pub seccomp: Option<Filter>,
    /// The namespaces of the container's config.
    pub namespaces: Namespaces,
}

impl Plan {
    /// Whether the final process, in a joined pid namespace, loads the filter: because the filter
    /// would not let init, outside, create that process.
    pub fn loads_filter_late(&self) -> bool {
        let filter = self.seccomp.as_ref().filter(|_| self.namespaces.joins_pid());
        filter.is_some_and(|filter| !seccomp::lets_fork(filter, &self.process))
    }
}

/// Plans a new container. Errors: a mistake in the config, or a conflict with the options.
pub fn plan(spec: &Spec, request: Request, host: &Host, log: &Log) -> Result<Plan> {
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let namespaces = namespaces::plan(linux)?;
    let id_maps = namespaces::id_maps(linux, &namespaces)?;
    let Some(process) = &spec.process else { bail!("process is missing") };
    let Some(root) = &spec.root else { bail!("root is missing") };
    // A joined mount namespace is not modified.
    let own_mounts = namespaces.makes(clone::NEWNS);
    if !own_mounts {
        if request.layered_root.is_some() {
            bail!("a root of layers or of a closure (firn.json) needs a new \"mount\" namespace");
        }
        log.warn("without a new mount namespace, mounts, devices, masked and read-only paths are ignored");
    }
    refuse_hooks_in_a_pod(spec, &namespaces)?;
    let rootfs = rootfs(&root.path, &request.bundle, request.layered_root.is_some())?;
    let ends_with_process = namespaces.makes(clone::NEWPID);
    let container = Container { spec, namespaces: &namespaces, id_maps: id_maps.as_ref(), host, ends_with_process };
    let process = process::plan(process, &container, &environment(&request), request.attachment.as_ref(), log)?;
    let process = ProcessPlan { preserved_fds: request.preserved_fds, ..process };
    if request.no_pivot && own_mounts {
        refuse_to_uncover(&process, &namespaces, host).map_err(|error| error.context("--no-pivot"))?;
    }
    let if_own = |list: &[String]| if own_mounts { list.to_vec() } else { Vec::new() };
    let mounts = match own_mounts {
        true => mounts_of(spec, &request.bundle, &rootfs, request.notify_directory.as_deref(), &container)?,
        false => Vec::new(),
    };
    Ok(Plan {
        readonly_root: root.readonly && own_mounts,
        root_propagation: mounts::root_propagation(&linux.rootfs_propagation)?,
        no_pivot: request.no_pivot,
        hostname: uts_name(&spec.hostname, "hostname", &namespaces)?,
        domainname: uts_name(&spec.domainname, "domainname", &namespaces)?,
        time_offsets: time_offsets(linux, &namespaces)?,
        mounts,
        mount_label: process::label(&linux.mount_label),
        devices: if own_mounts { devices::plan(&linux.devices)? } else { Vec::new() },
        net_devices: network::plan(&linux.net_devices, &namespaces, host)?,
        masked: unique(inside(&if_own(&linux.masked_paths), "linux.maskedPaths")?),
        readonly: unique(inside(&if_own(&linux.readonly_paths), "linux.readonlyPaths")?),
        sysctls: sysctl::plan(spec, linux, &namespaces)?,
        cgroup: cgroup_of(spec, linux, &request.id, request.cgroup_manager, host)?,
        resctrl: linux.intel_rdt.as_ref().map(resctrl::plan).transpose()?,
        new_keyring: !request.no_new_keyring,
        has_notify_directory: request.notify_directory.is_some(),
        process,
        seccomp: seccomp::plan(linux, log)?,
        hooks: hooks::plan(spec.hooks.clone().unwrap_or_default())?,
        starts_at_once: request.starts_at_once,
        oci_version: match spec.oci_version.is_empty() {
            true => crate::spec::VERSION.to_owned(),
            false => spec.oci_version.clone(),
        },
        annotations: spec.annotations.clone(),
        id: request.id,
        bundle: request.bundle,
        rootfs,
        layered_root: request.layered_root,
        namespaces,
        id_maps,
    })
}

/// Plans a further process of a running container, with the seccomp profile of its config.
/// `root_is_moved`: the container was created with `--no-pivot`.
pub fn exec(
    process: &Process,
    spec: &Spec,
    attachment: &Attachment,
    preserved_fds: Vec<RawFd>,
    root_is_moved: bool,
    host: &Host,
    log: &Log,
) -> Result<ExecPlan> {
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let namespaces = namespaces::plan(linux)?;
    let id_maps = namespaces::id_maps(linux, &namespaces)?;
    let container =
        Container { spec, namespaces: &namespaces, id_maps: id_maps.as_ref(), host, ends_with_process: false };
    let process = process::plan(process, &container, &[], Some(attachment), log)?;
    if root_is_moved && namespaces.makes(clone::NEWNS) {
        refuse_to_uncover(&process, &namespaces, host)
            .map_err(|error| error.context("the container was created with --no-pivot"))?;
    }
    let process = ProcessPlan { preserved_fds, ..process };
    Ok(ExecPlan { process, seccomp: seccomp::plan(linux, log)?, namespaces })
}

fn refuse_hooks_in_a_pod(spec: &Spec, namespaces: &Namespaces) -> Result<()> {
    let hooks = spec.hooks.as_ref().map_or(&[][..], |hooks| &hooks.create_container);
    if namespaces.unshares_in_init() && !hooks.is_empty() {
        bail!(
            "hooks.createContainer can't run where a pid namespace is joined and a user namespace made: \
             all in the pid namespace could use the host's root through them"
        );
    }
    Ok(())
}

/// Variables that follow those of the config: NOTIFY_SOCKET (sd_notify(3)), and the request's.
fn environment(request: &Request) -> Vec<String> {
    let is_new = request.attachment.is_some();
    let notify = request.notify_directory.as_ref().filter(|_| is_new);
    let socket = notify.map(|_| format!("NOTIFY_SOCKET={NOTIFY_DIRECTORY}/notify.sock"));
    socket.into_iter().chain(request.environment.iter().cloned()).collect()
}

fn cgroup_of(spec: &Spec, linux: &Linux, id: &str, manager: CgroupManager, host: &Host) -> Result<CgroupPlan> {
    let unit = match manager {
        CgroupManager::Systemd { of_user } => Some(Unit::new(&linux.cgroups_path, id, of_user)?),
        CgroupManager::Cgroupfs | CgroupManager::Disabled => None,
    };
    let resources = linux.resources.clone().unwrap_or_default().of_version(&spec.oci_version);
    Ok(CgroupPlan {
        is_disabled: manager == CgroupManager::Disabled,
        properties: cgroup::property::of_annotations(&spec.annotations)?,
        ..cgroup::plan(&linux.cgroups_path, id, &resources, host.cgroups.pure_v2, unit)?
    })
}

fn mounts_of(
    spec: &Spec,
    bundle: &Path,
    rootfs: &Path,
    notify_directory: Option<&Path>,
    container: &Container<'_>,
) -> Result<Vec<MountPlan>> {
    let Container { namespaces, id_maps, host, .. } = *container;
    let label = spec.linux.as_ref().and_then(|linux| process::label(&linux.mount_label));
    let context = mounts::PlanContext { bundle, rootfs, label: label.as_deref(), id_maps };
    let mut list = Cow::Borrowed(&spec.mounts);
    if let Some(directory) = notify_directory {
        list.to_mut().push(Mount {
            destination: NOTIFY_DIRECTORY.into(),
            source: directory.to_string_lossy().into_owned(),
            options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).to_vec(),
            ..Mount::default()
        });
    }
    let mounts = mounts::plan(&list, &context)?;
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

/// With `--no-pivot` the root is mounted over the host's. A process with CAP_SYS_ADMIN in the
/// container's mount namespace could unmount it (umount2(2), MNT_DETACH) and join the namespace
/// again (setns(2)), with the host's root as its own. Without a user namespace, the container's
/// root is the host's anyway.
fn refuse_to_uncover(process: &ProcessPlan, namespaces: &Namespaces, host: &Host) -> Result<()> {
    let CapSets { bounding, effective, permitted, inheritable, ambient } = process.caps;
    let has_right = (bounding | effective | permitted | inheritable | ambient) & SYS_ADMIN != 0;
    if has_right && (namespaces.has(clone::NEWUSER) || host.is_rootless()) {
        bail!(
            "with a user namespace CAP_SYS_ADMIN would uncover the host's root, which is below the container's: \
             remove it from process.capabilities, or omit --no-pivot"
        );
    }
    Ok(())
}

/// The absolute path of the root. Its existence is checked by `create/preflight.rs`.
fn rootfs(path: &str, bundle: &Path, layered: bool) -> Result<PathBuf> {
    if path.is_empty() && !layered {
        bail!("root.path is missing");
    }
    let path = bundle.join(if path.is_empty() { "rootfs" } else { path });
    if path == Path::new("/") {
        bail!("root.path is the host's own root");
    }
    Ok(path)
}

/// A host or domain name, uts_namespaces(7).
fn uts_name(value: &str, field: &str, namespaces: &Namespaces) -> Result<Option<CString>> {
    if value.is_empty() {
        return Ok(None);
    }
    if !namespaces.has(clone::NEWUTS) {
        bail!("{field} {value:?} needs a \"uts\" namespace, or it would be the host's");
    }
    // __NEW_UTS_LEN is 64, sethostname(2).
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
