//! `config.json` of the bundle, for any OCI runtime.

use super::init::Init;
use super::mounts;
use super::plan::{Plan, names};
use crate::caller::IdMap;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, Capability, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResourcesBuilder, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompBuilder,
    LinuxSyscallBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The oldest version of the runtime-spec with all that is used here, so that every runtime accepts
/// it.
const OCI_VERSION: &str = "1.0.2";

/// The annotation that names the stop signal (image-spec, "Annotations").
const STOP_SIGNAL: (&str, &str) = ("org.opencontainers.image.stopSignal", "SIGRTMIN+3");

/// The last directories in PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Capabilities of a command: Docker's default set.
const COMMAND_CAPABILITIES: &[Capability] = &[
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Further capabilities of an init, which mounts, configures its network, and reboots. Access to
/// devices is limited by the cgroup and not by leaving out CAP_MKNOD, without which systemd
/// can't make a /dev for PrivateDevices=.
const INIT_CAPABILITIES: &[Capability] =
    &[Capability::AuditControl, Capability::NetAdmin, Capability::SysAdmin, Capability::SysBoot];

/// The text of the file: the same bytes for the same plan.
pub(super) fn json(plan: &Plan) -> Result<String, OciSpecError> {
    let mut value = serde_json::to_value(spec(plan)?)?;
    // oci-spec keeps sets in hash order.
    if let Some(Value::Object(sets)) = value.pointer_mut("/process/capabilities") {
        for set in sets.values_mut() {
            if let Value::Array(names) = set {
                names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
        }
    }
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn spec(plan: &Plan) -> Result<Spec, OciSpecError> {
    SpecBuilder::default()
        .version(OCI_VERSION)
        .hostname(plan.identity.hostname.to_string())
        .root(RootBuilder::default().path(names::ROOTFS).readonly(false).build()?)
        .mounts(mounts::mounts(plan)?)
        .process(process(plan)?)
        .annotations(annotations(plan))
        .linux(linux(plan)?)
        .build()
}

/// Firn-init and an init stop at a signal of theirs; the program of an image at the image's.
fn annotations(plan: &Plan) -> HashMap<String, String> {
    let mut all: HashMap<_, _> = plan.annotations.clone().into_iter().collect();
    if plan.has_host_files() || matches!(plan.init, Init::Firn { .. }) {
        let (name, signal) = STOP_SIGNAL;
        all.insert(name.to_owned(), signal.to_owned());
    }
    all
}

fn process(plan: &Plan) -> Result<Process, OciSpecError> {
    let mut user = UserBuilder::default().uid(plan.user.uid).gid(plan.user.gid);
    if !plan.user.groups.is_empty() {
        user = user.additional_gids(plan.user.groups.clone());
    }
    let mut process = ProcessBuilder::default()
        .terminal(plan.terminal)
        .user(user.build()?)
        .args(plan.init.args())
        .env(env(plan))
        .cwd(&plan.cwd)
        .capabilities(capabilities(&plan.init)?)
        // An init runs setuid programs. For a command they gain nothing (no_new_privs, prctl(2)).
        .no_new_privileges(!plan.init.boots() && !plan.new_privileges)
        .build()?;
    // The default of oci-spec is 1024 for RLIMIT_NOFILE; none keeps the caller's.
    process.set_rlimits(None);
    Ok(process)
}

fn env(plan: &Plan) -> Vec<String> {
    let mut path = plan.path.clone();
    path.push(DEFAULT_PATH.into());
    let mut env = vec![
        ("PATH".to_owned(), path.join(":")),
        ("TERM".into(), if plan.terminal { "xterm-256color" } else { "dumb" }.into()),
        // Tells systemd and NixOS's stage 2 that they are in a container, so that they don't
        // mount what the runtime has mounted (systemd, "Container Interface").
        ("container".into(), "firn".into()),
        ("container_uuid".into(), plan.identity.uuid.clone()),
    ];
    if let Some(home) = &plan.user.home {
        env.push(("HOME".into(), home.clone()));
    }
    for (key, value) in &plan.env {
        env.retain(|(known, _)| known != key);
        env.push((key.clone(), value.clone()));
    }
    env.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// None are inheritable or ambient: else a program of an ordinary user that has file capabilities
/// would gain them by execve (CVE-2022-29162).
fn capabilities(init: &Init) -> Result<LinuxCapabilities, OciSpecError> {
    let more = if init.boots() { INIT_CAPABILITIES } else { &[] };
    let set: HashSet<_> = COMMAND_CAPABILITIES.iter().chain(more).copied().collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
}

/// The root of an init has shared propagation: systemd makes mount namespaces for its services, and
/// later mounts must propagate to them (systemd.exec(5), "Credentials"; as systemd-nspawn does).
fn linux(plan: &Plan) -> Result<Linux, OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let user = plan.id_maps.is_some().then_some(User);
    let namespaces = [Pid, Mount, Ipc, Uts, Cgroup, Network]
        .into_iter()
        .chain(user)
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let texts = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .resources(LinuxResourcesBuilder::default().devices(devices()?).build()?)
        .masked_paths(texts(mounts::MASKED))
        .readonly_paths(texts(mounts::READONLY))
        .build()?;
    linux.set_devices(None);
    if let Some(maps) = &plan.id_maps {
        linux.set_uid_mappings(Some(mappings(&maps.uids)?));
        linux.set_gid_mappings(Some(mappings(&maps.gids)?));
    }
    if plan.init.boots() || plan.closure.is_some() {
        linux.set_seccomp(Some(seccomp()?));
    }
    if plan.init.boots() {
        linux.set_rootfs_propagation(Some("shared".into()));
    }
    Ok(linux)
}

/// All but open_by_handle_at(2), by which a process with CAP_DAC_READ_SEARCH opens any file of a file
/// system of which it has a mount: of the host, through the files at /run/host, and store paths outside
/// of the closure. The same is denied by systemd-nspawn, unless the container has the capability.
fn seccomp() -> Result<LinuxSeccomp, OciSpecError> {
    let call = LinuxSyscallBuilder::default()
        .names(vec!["open_by_handle_at".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(rustix::io::Errno::PERM.raw_os_error().cast_unsigned())
        .build()?;
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .architectures(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32])
        .syscalls(vec![call])
        .build()
}

fn mappings(maps: &[IdMap]) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    let mapping = |(inside, outside, count): &IdMap| {
        LinuxIdMappingBuilder::default().container_id(*inside).host_id(*outside).size(*count).build()
    };
    maps.iter().map(mapping).collect()
}

/// Access to the default devices of a container. Nodes of all others may be made, which gives no
/// access to them.
fn devices() -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
    use LinuxDeviceType::{A, B, C};
    const ALLOWED: &[(LinuxDeviceType, Option<i64>, Option<i64>, &str)] = &[
        (C, None, None, "m"),
        (B, None, None, "m"),
        (C, Some(1), Some(3), "rwm"),    // null
        (C, Some(1), Some(5), "rwm"),    // zero
        (C, Some(1), Some(7), "rwm"),    // full
        (C, Some(1), Some(8), "rwm"),    // random
        (C, Some(1), Some(9), "rwm"),    // urandom
        (C, Some(5), Some(0), "rwm"),    // tty
        (C, Some(5), Some(1), "rwm"),    // console
        (C, Some(5), Some(2), "rwm"),    // ptmx
        (C, Some(136), None, "rwm"),     // pts/*
        (C, Some(10), Some(200), "rwm"), // net/tun
    ];
    let mut rules = vec![rule(false, A, None, None, "rwm")?];
    for &(kind, major, minor, access) in ALLOWED {
        rules.push(rule(true, kind, major, minor, access)?);
    }
    Ok(rules)
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup, OciSpecError> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access).build()?;
    rule.set_major(major);
    rule.set_minor(minor);
    Ok(rule)
}
