//! Scheduling, memory policy, I/O priority and personality of a process.

use super::ranges;
use crate::bail;
use crate::error::{Error, Result};
use crate::spec::linux::{self as spec, Personality};
use crate::spec::process::{CpuAffinity, IoPriority, Scheduler};
use crate::sys::sched::{MemoryPolicy, SchedAttr};
use rustix::thread::CpuSet;

/// `execCPUAffinity`: the CPU sets of `initial` and `final`.
pub fn cpu_affinity(spec: &CpuAffinity) -> Result<[Option<CpuSet>; 2]> {
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

/// Modes of set_mempolicy(2), linux/mempolicy.h.
pub const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
/// Flags of set_mempolicy(2), linux/mempolicy.h.
pub const FLAGS: [(&str, u32); 3] =
    [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];

/// `linux.memoryPolicy`. Errors: a mode, flag or node that set_mempolicy(2) would refuse.
pub fn memory_policy(spec: &spec::MemoryPolicy) -> Result<MemoryPolicy> {
    // CONFIG_NODES_SHIFT is at most 10.
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
    // set_mempolicy(2) returns EINVAL for all of these.
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    match (spec.mode.as_str(), count) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", 1..) => bail!("memory policy mode requires 0 nodes but got {count}"),
        ("MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED", _) | (_, 1..) => {}
        _ => bail!("memory policy mode requires at least one node but got 0"),
    }
    Ok(MemoryPolicy { mode, nodes })
}

/// `process.scheduler`. Errors: what does not apply to the policy (sched(7)).
pub fn scheduler(spec: &Scheduler) -> Result<SchedAttr> {
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

/// `process.ioPriority` as the argument of ioprio_set(2).
pub fn io_priority(spec: &IoPriority) -> Result<u32> {
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

/// `linux.personality` as the argument of personality(2).
pub fn personality(spec: &Personality) -> Result<u32> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
