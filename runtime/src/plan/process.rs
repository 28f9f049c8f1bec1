//! The process: ids, privileges, program. For both `create` and `exec`.

use super::capabilities::{self, CapSets};
use super::namespaces::{self, IdMaps, Namespaces};
use super::request::Attachment;
use super::scheduling;
use super::streams::{self, Output, StreamsPlan};
use super::unique::unique;
use crate::bail;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log::Log;
use crate::path::InRoot;
use crate::spec::Spec;
use crate::spec::linux::Linux;
use crate::spec::process::Process;
use crate::sys::clone;
use crate::sys::sched::{MemoryPolicy, SchedAttr};
use rustix::fd::RawFd;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use std::ffi::CString;

/// The default of `user.umask`, as under runc and crun: never the caller's.
const UMASK: u32 = 0o022;

/// Annotation by podman for `--group-add keep-groups`: keep the caller's supplementary groups.
/// As under crun, also if the caller is root.
pub const KEEPS_GROUPS: &str = "run.oci.keep_original_groups";

/// A process, validated.
#[derive(Debug)]
pub struct ProcessPlan {
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: InRoot,
    pub uid: u32,
    pub gid: u32,
    /// `uid` on the host; None if unknown.
    pub owner: Option<u32>,
    pub groups: Vec<u32>,
    /// Keep the caller's groups instead of `groups`.
    pub keeps_groups: bool,
    pub umask: u32,
    /// Empty sets if config.json has none.
    pub caps: CapSets,
    pub rlimits: Vec<(Resource, Rlimit)>,
    pub no_new_privs: bool,
    pub oom_score_adj: Option<i32>,
    pub terminal: bool,
    /// The pty, or the standard streams.
    pub streams: StreamsPlan,
    /// Descriptors of the caller that are passed to the program, besides the standard streams.
    pub preserved_fds: Vec<RawFd>,
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
    pub scheduler: Option<SchedAttr>,
    /// The config sets `linux.resources.cpu.cpus`.
    pub has_cpuset: bool,
    /// The argument of ioprio_set(2).
    pub io_priority: Option<u32>,
    /// `exec`: CPUs before and after the process enters the cgroup.
    pub cpu_affinity: [Option<CpuSet>; 2],
    pub memory_policy: Option<MemoryPolicy>,
    /// personality(2); also of the container.
    pub personality: Option<u32>,
}

/// What a process's plan depends on of its container.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    pub spec: &'a Spec,
    pub namespaces: &'a Namespaces,
    pub id_maps: Option<&'a IdMaps>,
    pub host: &'a Host,
    /// The process is pid 1 of a new pid namespace: no process outlives it.
    pub ends_with_process: bool,
}

/// Plans a process of `container`. `environment`: follows the config's. `attachment`: None if no
/// process is created; its streams are then left out. Errors: the field and its mistake.
pub fn plan(
    spec: &Process,
    container: &Container<'_>,
    environment: &[String],
    attachment: Option<&Attachment>,
    log: &Log,
) -> Result<ProcessPlan> {
    if spec.args.is_empty() {
        bail!("process.args must not be empty");
    }
    if spec.cwd.is_empty() {
        bail!("process.cwd must not be empty");
    }
    if !spec.cwd.starts_with('/') {
        bail!("process.cwd {:?} must be an absolute path", spec.cwd);
    }
    for (name, id) in [("uid", spec.user.uid), ("gid", spec.user.gid)] {
        if id == u32::MAX {
            bail!("process.user.{name} {id} is not an id");
        }
    }
    let Container { spec: config, namespaces, id_maps, host, ends_with_process } = *container;
    let linux = config.linux.as_ref();
    let caps = spec.capabilities.as_ref();
    let owner = namespaces::host_uid(spec.user.uid, namespaces, id_maps);
    let output = if ends_with_process { Output::OpensAgain(owner) } else { Output::Inherited };
    let streams = attachment.map(|to| streams::plan(spec.terminal, spec.console_size, output, to));
    // In a user namespace all capabilities are available.
    let available_caps = if namespaces.has(clone::NEWUSER) { u64::MAX } else { host.capabilities };
    Ok(ProcessPlan {
        args: c_strings(&spec.args, "process.args")?,
        env: variables(spec.env.iter().chain(environment))?,
        cwd: InRoot::new(&spec.cwd),
        uid: spec.user.uid,
        gid: spec.user.gid,
        owner,
        groups: unique(spec.user.additional_gids.clone()),
        keeps_groups: config.annotations.get(KEEPS_GROUPS).is_some_and(|value| value == "1"),
        umask: spec.user.umask.unwrap_or(UMASK),
        caps: caps.map_or_else(CapSets::default, |caps| capabilities::sets(caps, available_caps, log)),
        rlimits: rlimits(spec)?,
        no_new_privs: spec.no_new_privileges,
        oom_score_adj: spec.oom_score_adj,
        terminal: spec.terminal,
        streams: streams.transpose()?.unwrap_or_default(),
        preserved_fds: Vec::new(),
        apparmor: label(&spec.apparmor_profile).filter(|profile| profile != "unconfined"),
        selinux: label(&spec.selinux_label),
        scheduler: spec.scheduler.as_ref().map(scheduling::scheduler).transpose()?,
        has_cpuset: linux.is_some_and(has_cpuset),
        io_priority: spec.io_priority.as_ref().map(scheduling::io_priority).transpose()?,
        cpu_affinity: spec.exec_cpu_affinity.as_ref().map(scheduling::cpu_affinity).transpose()?.unwrap_or_default(),
        memory_policy: linux
            .and_then(|linux| linux.memory_policy.as_ref())
            .map(scheduling::memory_policy)
            .transpose()?,
        personality: linux.and_then(|linux| linux.personality.as_ref()).map(scheduling::personality).transpose()?,
    })
}

fn has_cpuset(linux: &Linux) -> bool {
    linux.resources.as_ref().and_then(|resources| resources.cpu.as_ref()).is_some_and(|cpu| !cpu.cpus.is_empty())
}

fn c_strings(strings: &[String], field: &str) -> Result<Vec<CString>> {
    let convert =
        |s: &String| CString::new(s.as_str()).map_err(|_| Error::new(format!("{field} has a NUL byte in {s:?}")));
    strings.iter().map(convert).collect()
}

/// The last value of a variable counts, as under runc.
fn variables<'a>(env: impl Iterator<Item = &'a String>) -> Result<Vec<CString>> {
    let mut kept: Vec<&String> = Vec::with_capacity(env.size_hint().0);
    for entry in env {
        let Some((name, _)) = entry.split_once('=') else {
            bail!("process.env has no '=' in {entry:?}");
        };
        if name.is_empty() {
            bail!("process.env has no name in {entry:?}");
        }
        let prefix = &entry[..=name.len()];
        match kept.iter_mut().find(|other| other.starts_with(prefix)) {
            Some(earlier) => *earlier = entry,
            None => kept.push(entry),
        }
    }
    kept.into_iter()
        .map(|entry| CString::new(entry.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::new("process.env has a NUL byte"))
}

fn rlimits(spec: &Process) -> Result<Vec<(Resource, Rlimit)>> {
    let mut limits: Vec<(Resource, Rlimit)> = Vec::new();
    for limit in &spec.rlimits {
        let Some(resource) = resource(&limit.kind) else {
            bail!("process.rlimits: {:?} is not the name of a limit", limit.kind);
        };
        if limits.iter().any(|(other, _)| *other == resource) {
            bail!("process.rlimits: {} is given twice", limit.kind);
        }
        if limit.soft > limit.hard {
            bail!("process.rlimits: the soft limit of {} is above the hard one", limit.kind);
        }
        let value = |n: u64| (n != u64::MAX).then_some(n);
        limits.push((resource, Rlimit { current: value(limit.soft), maximum: value(limit.hard) }));
    }
    Ok(limits)
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name.strip_prefix("RLIMIT_")? {
        "AS" => Resource::As,
        "CORE" => Resource::Core,
        "CPU" => Resource::Cpu,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "LOCKS" => Resource::Locks,
        "MEMLOCK" => Resource::Memlock,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "RSS" => Resource::Rss,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        "SIGPENDING" => Resource::Sigpending,
        "STACK" => Resource::Stack,
        _ => return None,
    })
}

/// An LSM label, if it is not empty. Whether the LSM is enabled is checked by
/// `create/preflight.rs`.
pub fn label(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process { args: vec!["true".into()], cwd: "/".into(), ..Process::default() }
    }

    fn planned(process: &Process) -> Result<ProcessPlan> {
        let (spec, namespaces, host) = (Spec::default(), Namespaces::default(), Host::root());
        let container =
            Container { spec: &spec, namespaces: &namespaces, id_maps: None, host: &host, ends_with_process: true };
        plan(process, &container, &[], None, &Log::quiet())
    }

    fn refused(change: impl FnOnce(&mut Process)) -> String {
        let mut spec = process();
        change(&mut spec);
        planned(&spec).unwrap_err().chain()
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(refused(|p| p.args.clear()), "process.args must not be empty");
        assert_eq!(refused(|p| p.cwd = "tmp".into()), "process.cwd \"tmp\" must be an absolute path");
        assert_eq!(refused(|p| p.env = vec!["A".into()]), "process.env has no '=' in \"A\"");
        assert_eq!(refused(|p| p.args[0].push('\0')), "process.args has a NUL byte in \"true\\0\"");
        assert_eq!(refused(|p| p.user.uid = u32::MAX), "process.user.uid 4294967295 is not an id");
    }

    #[test]
    fn a_variable_given_twice_keeps_its_last_value() {
        let mut spec = process();
        spec.env = ["A=1", "AB=2", "A=3"].map(String::from).to_vec();
        let env = planned(&spec).unwrap().env;
        assert_eq!(env, [c"A=3".to_owned(), c"AB=2".to_owned()]);
    }
}
