//! clone3(2), setns(2), unshare(2).

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::process::Pid;

pub const NEWTIME: u64 = libc::CLONE_NEWTIME as u64;
pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
/// The new process becomes the caller's sibling.
pub const PARENT: u64 = libc::CLONE_PARENT as u64;
/// The new process has the caller's tracer, and stops before its first instruction.
pub const PTRACE: u64 = libc::CLONE_PTRACE as u64;

const CLONE_PIDFD: u64 = libc::CLONE_PIDFD as u64;
/// Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// struct clone_args, linux/sched.h, version 2 (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a clone one is on.
#[derive(Debug)]
pub enum Fork {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// Forks with `flags` (CLONE_NEW*, CLONE_PARENT), into `cgroup` (a directory of
/// cgroup v2) where one is given. The child shares no memory with the parent;
/// the caller must be single-threaded, for a lock that another thread held
/// would stay locked in the child for ever.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> rustix::io::Result<Fork> {
    debug_assert_eq!(has_one_thread(), Ok(true), "clone3 in a process with threads");
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        // With CLONE_PARENT the kernel wants none and takes the parent's.
        exit_signal: if flags & PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child
    // gets a copy of all memory, and `args` and `pidfd` outlive the call.
    let pid = unsafe { syscall!(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>())? };
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        None => Ok(Fork::Child),
        Some(pid) => {
            // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid, pidfd })
        }
    }
}

/// Forks a sibling by clone(2), with `flags` (CLONE_PTRACE). Seccomp profiles allow it
/// that let a program fork: they can judge its flags, and not those of clone3(2). None
/// in the child.
pub fn fork_sibling(flags: u64) -> rustix::io::Result<Option<Pid>> {
    debug_assert_eq!(has_one_thread(), Ok(true), "clone in a process with threads");
    // SAFETY: without CLONE_VM and with no stack given this is a fork; nothing is
    // written through the other pointers, which are null.
    let pid = unsafe { syscall!(libc::SYS_clone, PARENT | flags, 0usize, 0usize, 0usize, 0usize)? };
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// Whether the caller is the only thread of its process, in one call: with CLONE_THREAD,
/// unshare(2) changes nothing and refuses where there are others.
pub fn has_one_thread() -> rustix::io::Result<bool> {
    // SAFETY: CLONE_THREAD alone unshares nothing.
    match unsafe { syscall!(libc::SYS_unshare, libc::CLONE_THREAD) } {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Enters the namespaces `flags` of the process or namespace file behind `fd`.
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> rustix::io::Result<()> {
    // SAFETY: setns takes two integers and touches no memory of ours.
    unsafe { syscall!(libc::SYS_setns, fd.as_raw_fd(), flags as libc::c_int)? };
    Ok(())
}

/// Leaves shared namespaces for new ones.
pub fn unshare(flags: u64) -> rustix::io::Result<()> {
    // SAFETY: only namespace flags are passed by callers; no CLONE_FILES or
    // CLONE_VM, so nothing that Rust relies on is unshared.
    unsafe { syscall!(libc::SYS_unshare, flags as libc::c_int)? };
    Ok(())
}
