//! Scheduling and I/O priority of the calling thread.

use super::syscall;

/// struct sched_attr, linux/sched/types.h, without the utilisation clamps.
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

/// `pid` 0 is the calling thread.
pub fn set_scheduler(pid: i32, attr: &SchedAttr) -> rustix::io::Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: `attr` is a struct sched_attr of the size it names.
    unsafe { syscall!(libc::SYS_sched_setattr, pid, &raw const attr, 0)? };
    Ok(())
}

/// Lets the calling thread run on all processors that its cgroup has, whatever its
/// parent was kept to: since Linux 6.2 the kernel remembers that.
pub fn reset_affinity() -> rustix::io::Result<()> {
    // More than CONFIG_NR_CPUS may be.
    let all = [0xffu8; 8192 / 8];
    // SAFETY: `all` is a mask of the size passed.
    unsafe { syscall!(libc::SYS_sched_setaffinity, 0, all.len(), all.as_ptr())? };
    Ok(())
}

/// As set_mempolicy(2) takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// With its flags.
    pub mode: u32,
    /// A bit for each node.
    pub nodes: Vec<u64>,
}

pub fn set_memory_policy(policy: &MemoryPolicy) -> rustix::io::Result<()> {
    // The kernel takes one bit less than it is told of.
    let bits = policy.nodes.len() * 64 + 1;
    // SAFETY: `nodes` has that many bits, less the one that is never read.
    unsafe { syscall!(libc::SYS_set_mempolicy, policy.mode, policy.nodes.as_ptr(), bits)? };
    Ok(())
}

/// `value` is class << 13 | level, ioprio_set(2).
pub fn set_io_priority(value: u32) -> rustix::io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value)? };
    Ok(())
}
