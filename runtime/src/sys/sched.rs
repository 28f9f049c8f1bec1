//! Scheduling policy, CPU affinity, memory policy and I/O priority.

use super::syscall;

/// struct sched_attr, linux/sched/types.h, without the utilisation clamps; `runtime`,
/// `deadline` and `period` in nanoseconds.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2); `pid` 0 is the calling thread.
pub fn set_scheduler(pid: i32, attr: &SchedAttr) -> rustix::io::Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: `attr` is a struct sched_attr of the size it names.
    unsafe { syscall!(libc::SYS_sched_setattr, pid, &raw const attr, 0)? };
    Ok(())
}

/// Sets the affinity of the calling thread to all CPUs that its cpuset has, and so drops
/// a mask that the parent had set: since Linux 6.2 the kernel keeps a mask set by
/// sched_setaffinity(2) across changes of the cpuset.
pub fn reset_affinity() -> rustix::io::Result<()> {
    // At least CONFIG_NR_CPUS, whose maximum is 8192 on x86-64.
    let all = [0xffu8; 8192 / 8];
    // SAFETY: `all` is a mask of the size passed.
    unsafe { syscall!(libc::SYS_sched_setaffinity, 0, all.len(), all.as_ptr())? };
    Ok(())
}

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_*, with its mode flags.
    pub mode: u32,
    /// The node mask: bit n of word n / 64 for node n.
    pub nodes: Vec<u64>,
}

/// Sets the memory policy of the calling thread, set_mempolicy(2).
pub fn set_memory_policy(policy: &MemoryPolicy) -> rustix::io::Result<()> {
    // The kernel reads maxnode - 1 bits.
    let bits = policy.nodes.len() * 64 + 1;
    // SAFETY: `nodes` has that many bits, less the one that is never read.
    unsafe { syscall!(libc::SYS_set_mempolicy, policy.mode, policy.nodes.as_ptr(), bits)? };
    Ok(())
}

/// The I/O priority of the calling thread: `value` is class << 13 | level, ioprio_set(2).
pub fn set_io_priority(value: u32) -> rustix::io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value)? };
    Ok(())
}
