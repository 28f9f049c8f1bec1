//! `config.json`: what any OCI runtime reads of the bundle.

use super::init::Init;
use super::{Plan, mounts, names};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResourcesBuilder,
    Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The oldest version that has everything used here, so that every runtime of
/// today takes it.
const OCI_VERSION: &str = "1.0.2";

/// Annotation by which engines and monitors learn how to stop the container.
const STOP_SIGNAL: (&str, &str) = ("org.opencontainers.image.stopSignal", "SIGRTMIN+3");

/// Searched last, as on any Unix.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's set: what ordinary services use.
const SERVICE: &[Capability] = &[
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

/// An init mounts, sets its own network up, and reboots. Device access is ruled
/// by the cgroup, never by taking CAP_MKNOD, without which systemd can't give
/// services a /dev of their own.
const BOOT: &[Capability] =
    &[Capability::AuditControl, Capability::NetAdmin, Capability::SysAdmin, Capability::SysBoot];

/// The document, with the same bytes for the same plan.
pub fn json(plan: &Plan) -> Result<String, OciSpecError> {
    let mut value = serde_json::to_value(spec(plan)?)?;
    // The library keeps sets in hash order.
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
    let (key, value) = STOP_SIGNAL;
    SpecBuilder::default()
        .version(OCI_VERSION)
        .hostname(plan.identity.hostname.to_string())
        .root(RootBuilder::default().path(names::ROOTFS).readonly(false).build()?)
        .mounts(mounts::mounts(plan)?)
        .process(process(plan)?)
        .annotations(HashMap::from([(key.to_owned(), value.to_owned())]))
        .linux(linux(plan.init.boots())?)
        .build()
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
        // Inits run setuid programs; a command with NNP can't gain anything by one.
        .no_new_privileges(!plan.init.boots())
        .build()?;
    // The library's default is a limit of 1024 files; none means the caller's.
    process.set_rlimits(None);
    Ok(process)
}

fn env(plan: &Plan) -> Vec<String> {
    let mut path = plan.path.clone();
    path.push(DEFAULT_PATH.into());
    let mut env = vec![
        ("PATH".to_owned(), path.join(":")),
        ("TERM".into(), if plan.terminal { "xterm-256color" } else { "dumb" }.into()),
        // Decisive for systemd and for NixOS's stage 2, which else would mount
        // everything themselves.
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

/// Never inheritable or ambient: a program that isn't root's must not get any
/// by execve (CVE-2022-29162).
fn capabilities(init: &Init) -> Result<LinuxCapabilities, OciSpecError> {
    let more = if init.boots() { BOOT } else { &[] };
    let set: HashSet<_> = SERVICE.iter().chain(more).copied().collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
}

/// The root of an init is shared: systemd mounts for its services from mount
/// namespaces of theirs, and what is mounted later must reach those (systemd.exec(5),
/// "Credentials"; systemd-nspawn does the same).
fn linux(boots: bool) -> Result<Linux, OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let namespaces = [Pid, Mount, Ipc, Uts, Cgroup, Network]
        .into_iter()
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
    if boots {
        linux.set_rootfs_propagation(Some("shared".into()));
    }
    Ok(linux)
}

/// Nothing but what every container has; making nodes of others is allowed, as
/// it gives no access to them.
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
