//! The container's process: who it is, what it may, what it runs. The same for
//! `create` and for `exec`.

use super::capabilities::{self, CapSets};
use super::ranges;
use crate::bail;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::path::InRoot;
use crate::spec;
use crate::spec::process::{ConsoleSize, CpuAffinity, IoPriority, Process, Scheduler};
use crate::sys::sched::{MemoryPolicy, SchedAttr};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use std::ffi::CString;

/// Where `user.umask` is absent, as under runc and crun: never the caller's.
const UMASK: u32 = 0o022;

#[derive(Debug)]
pub struct ProcessPlan {
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: InRoot,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Those of the caller instead.
    pub keeps_groups: bool,
    pub umask: u32,
    /// None at all where config.json names none.
    pub caps: CapSets,
    pub rlimits: Vec<(Resource, Rlimit)>,
    pub no_new_privs: bool,
    pub oom_score_adj: Option<i32>,
    pub terminal: bool,
    /// Standard input, output and error, where there is no terminal.
    pub streams: [Stream; 3],
    /// It stands for the caller's, which ends lines in its own way.
    pub terminal_in_foreground: bool,
    pub console_size: Option<ConsoleSize>,
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
    pub scheduler: Option<SchedAttr>,
    /// The config keeps the container to some of the machine's processors.
    pub has_cpuset: bool,
    /// As ioprio_set(2) takes it.
    pub io_priority: Option<u32>,
    /// Of an exec, before and after it enters the cgroup.
    pub cpu_affinity: [Option<CpuSet>; 2],
    pub memory_policy: Option<MemoryPolicy>,
    /// Of the container, too.
    pub personality: Option<u32>,
}

/// What becomes of a standard stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stream {
    /// It is left as it is.
    #[default]
    Pass,
    /// The host's null device, in whose place comes the container's own.
    Null,
    /// A pipe that the process's user gets.
    Give,
}

/// Checks `process` and turns it into what init does.
pub fn plan(spec: &Process, available_caps: u64, log: &Log) -> Result<ProcessPlan> {
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
    let caps = spec.capabilities.as_ref();
    Ok(ProcessPlan {
        args: c_strings(&spec.args, "process.args")?,
        env: environment(&spec.env)?,
        cwd: InRoot::new(&spec.cwd),
        uid: spec.user.uid,
        gid: spec.user.gid,
        groups: super::once(spec.user.additional_gids.clone()),
        keeps_groups: false,
        umask: spec.user.umask.unwrap_or(UMASK),
        caps: caps.map_or_else(CapSets::default, |caps| capabilities::sets(caps, available_caps, log)),
        rlimits: rlimits(spec)?,
        no_new_privs: spec.no_new_privileges,
        oom_score_adj: spec.oom_score_adj,
        terminal: spec.terminal,
        streams: Default::default(),
        terminal_in_foreground: false,
        console_size: spec.console_size,
        apparmor: label(&spec.apparmor_profile, "AppArmor", "apparmor")?,
        selinux: label(&spec.selinux_label, "SELinux", "selinux")?,
        scheduler: spec.scheduler.as_ref().map(scheduler).transpose()?,
        has_cpuset: false,
        io_priority: spec.io_priority.as_ref().map(io_priority).transpose()?,
        cpu_affinity: spec.exec_cpu_affinity.as_ref().map(cpu_affinity).transpose()?.unwrap_or_default(),
        memory_policy: None,
        personality: None,
    })
}

fn c_strings(strings: &[String], field: &str) -> Result<Vec<CString>> {
    let convert =
        |s: &String| CString::new(s.as_str()).map_err(|_| Error::new(format!("{field} has a NUL byte in {s:?}")));
    strings.iter().map(convert).collect()
}

/// A variable given twice keeps its last value, as for runc.
fn environment(env: &[String]) -> Result<Vec<CString>> {
    let mut kept: Vec<&String> = Vec::with_capacity(env.len());
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

/// `initial` and `final`.
fn cpu_affinity(spec: &CpuAffinity) -> Result<[Option<CpuSet>; 2]> {
    let set = |text: &str| -> Result<Option<CpuSet>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut set = CpuSet::new();
        for number in ranges::numbers(text, "process.execCPUAffinity", CpuSet::MAX_CPU)? {
            set.set(number);
        }
        Ok(Some(set))
    };
    Ok([set(&spec.initial)?, set(&spec.last)?])
}

/// linux/mempolicy.h
pub const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
pub const FLAGS: [(&str, u32); 3] =
    [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];

pub fn memory_policy(spec: &spec::linux::MemoryPolicy) -> Result<MemoryPolicy> {
    // CONFIG_NODES_SHIFT is 10 at most.
    const NODES: usize = 1024;
    let Some(mode) = MODES.iter().position(|mode| *mode == spec.mode) else {
        bail!("invalid memory policy mode {:?} (linux.memoryPolicy)", spec.mode);
    };
    let mut mode = mode as u32;
    for name in &spec.flags {
        let Some((_, flag)) = FLAGS.iter().find(|(known, _)| known == name) else {
            bail!("invalid memory policy flag {name:?} (linux.memoryPolicy)");
        };
        mode |= flag;
    }
    let mut nodes = vec![0u64; NODES / 64];
    let numbers = ranges::numbers(&spec.nodes, "linux.memoryPolicy.nodes", NODES);
    for number in numbers.map_err(|error| Error::new(format!("invalid memory policy node: {}", error.chain())))? {
        nodes[number / 64] |= 1 << (number % 64);
    }
    // The kernel has one errno for all of it.
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    match (spec.mode.as_str(), count) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", 1..) => bail!("memory policy mode requires 0 nodes but got {count}"),
        ("MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED", _) | (_, 1..) => {}
        _ => bail!("memory policy mode requires at least one node but got 0"),
    }
    Ok(MemoryPolicy { mode, nodes })
}

/// A security label needs its module in the kernel. Without it the container would
/// run unconfined, so that is an error, as under runc.
pub fn label(value: &str, title: &str, module: &str) -> Result<Option<String>> {
    if value.is_empty() || (module == "apparmor" && value == "unconfined") {
        return Ok(None);
    }
    let file = match module {
        "apparmor" => "/sys/kernel/security/apparmor",
        _ => "/sys/fs/selinux/enforce",
    };
    if !std::fs::exists(file).unwrap_or(false) {
        bail!("the config asks for {title} {value:?}, but {title} is disabled or not supported on this host");
    }
    Ok(Some(value.to_owned()))
}

fn scheduler(spec: &Scheduler) -> Result<SchedAttr> {
    const POLICIES: [(&str, u32); 7] = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: [(&str, u64); 7] = [
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    let policy = POLICIES.iter().find(|(name, _)| *name == spec.policy);
    let Some((_, policy)) = policy else {
        bail!("process.scheduler: {:?} is not the name of a policy", spec.policy);
    };
    let mut flags = 0;
    for flag in &spec.flags {
        match FLAGS.iter().find(|(name, _)| name == flag) {
            Some((_, bit)) => flags |= bit,
            None => bail!("process.scheduler: {flag:?} is not the name of a flag"),
        }
    }
    // sched_setattr(2) would clamp it.
    if !(-20..=19).contains(&spec.nice) {
        bail!("process.scheduler.nice {} is not within -20 and 19", spec.nice);
    }
    let is_real_time = matches!(spec.policy.as_str(), "SCHED_FIFO" | "SCHED_RR");
    if spec.priority != 0 && !is_real_time {
        bail!("process.scheduler.priority is for SCHED_FIFO and SCHED_RR, and the policy is {}", spec.policy);
    }
    if is_real_time && !(1..=99).contains(&spec.priority) {
        bail!("process.scheduler.priority {} of {} is not within 1 and 99", spec.priority, spec.policy);
    }
    if spec.policy != "SCHED_DEADLINE" && (spec.runtime, spec.deadline, spec.period) != (0, 0, 0) {
        bail!(
            "process.scheduler: runtime, deadline and period are for SCHED_DEADLINE, and the policy is {}",
            spec.policy
        );
    }
    Ok(SchedAttr {
        policy: *policy,
        flags,
        nice: spec.nice,
        priority: spec.priority as u32,
        runtime: spec.runtime,
        deadline: spec.deadline,
        period: spec.period,
        ..SchedAttr::default()
    })
}

fn io_priority(spec: &IoPriority) -> Result<u32> {
    const CLASS_SHIFT: u32 = 13;
    let class = match spec.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => bail!("process.ioPriority: {other:?} is not the name of a class"),
    };
    match u32::try_from(spec.priority) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => bail!("process.ioPriority.priority {} is not within 0 and 7", spec.priority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process { args: vec!["true".into()], cwd: "/".into(), ..Process::default() }
    }

    fn refused(change: impl FnOnce(&mut Process)) -> String {
        let mut spec = process();
        change(&mut spec);
        plan(&spec, u64::MAX, &Log::quiet()).unwrap_err().chain()
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
        let env = plan(&spec, u64::MAX, &Log::quiet()).unwrap().env;
        assert_eq!(env, [c"A=3".to_owned(), c"AB=2".to_owned()]);
    }

    #[test]
    fn what_a_scheduling_policy_does_not_take_is_named() {
        let refused = |policy: &str, change: fn(&mut Scheduler)| {
            let mut spec = Scheduler { policy: policy.into(), ..Scheduler::default() };
            change(&mut spec);
            scheduler(&spec).map(drop).map_err(|error| error.chain())
        };
        let nice = "process.scheduler.nice 50 is not within -20 and 19";
        assert_eq!(refused("SCHED_OTHER", |s| s.nice = 50), Err(nice.into()));
        assert!(refused("SCHED_BATCH", |s| s.nice = -21).is_err());
        assert!(refused("SCHED_OTHER", |s| s.nice = 19).is_ok());
        assert!(refused("SCHED_OTHER", |s| s.priority = 1).is_err());
        assert!(refused("SCHED_FIFO", |_| ()).is_err() && refused("SCHED_RR", |s| s.priority = -1).is_err());
        assert!(refused("SCHED_FIFO", |s| s.priority = 99).is_ok());
        assert!(refused("SCHED_OTHER", |s| s.period = 1).is_err());
    }

    #[test]
    fn io_priority_is_class_and_level() {
        let spec = IoPriority { class: "IOPRIO_CLASS_BE".into(), priority: 4 };
        assert_eq!(io_priority(&spec).unwrap(), 2 << 13 | 4);
    }
}
