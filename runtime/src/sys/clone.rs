//! clone3(2), clone(2), setns(2), unshare(2).

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::process::Pid;

/// CLONE_NEW* of clone(2): one bit for each kind of namespace.
pub const NEWTIME: u64 = libc::CLONE_NEWTIME as u64;
pub const NEWNS: u64 = libc::CLONE_NEWNS as u64;
pub const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
pub const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
pub const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
pub const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
pub const NEWPID: u64 = libc::CLONE_NEWPID as u64;
pub const NEWNET: u64 = libc::CLONE_NEWNET as u64;
/// CLONE_PARENT: the new process is the caller's sibling.
pub const PARENT: u64 = libc::CLONE_PARENT as u64;
/// CLONE_PTRACE: the new process has the caller's tracer, and is stopped by SIGSTOP
/// before its first instruction.
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

/// The result of a clone: in the child, or in the parent with the child's pid and pidfd.
#[derive(Debug)]
pub enum Fork {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// Forks by clone3(2) with `flags` (CLONE_NEW*, CLONE_PARENT) into `cgroup`, a directory
/// of cgroup v2 (CLONE_INTO_CGROUP, Linux 5.7). The child has a copy of the memory. The
/// caller must be single-threaded: a lock that another thread holds would stay locked in
/// the child. Errors: EBUSY where the cgroup has controllers enabled for its children
/// (the no-internal-processes rule), EACCES, EAGAIN at a limit of processes.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> rustix::io::Result<Fork> {
    debug_assert_eq!(has_one_thread(), Ok(true), "clone3 in a process with threads");
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        // clone3(2): must be 0 with CLONE_PARENT, which takes the parent's.
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

/// Forks a sibling by clone(2) (CLONE_PARENT) with `flags` (CLONE_PTRACE). None in the
/// child. By clone(2) and not clone3(2): a seccomp filter can inspect its flags, so
/// profiles that let a program fork allow it; those of clone3(2) are in memory.
pub fn fork_sibling(flags: u64) -> rustix::io::Result<Option<Pid>> {
    debug_assert_eq!(has_one_thread(), Ok(true), "clone in a process with threads");
    // SAFETY: without CLONE_VM and with no stack given this is a fork; nothing is
    // written through the other pointers, which are null.
    let pid = unsafe { syscall!(libc::SYS_clone, PARENT | flags, 0usize, 0usize, 0usize, 0usize)? };
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// Whether the process is single-threaded, in one system call: unshare(CLONE_THREAD)
/// changes nothing, and fails with EINVAL in a multi-threaded process, unshare(2).
pub fn has_one_thread() -> rustix::io::Result<bool> {
    // SAFETY: CLONE_THREAD alone unshares nothing.
    match unsafe { syscall!(libc::SYS_unshare, libc::CLONE_THREAD) } {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Joins the namespaces `flags` of `fd`: a pidfd (several at once, Linux 5.8) or a
/// namespace file, setns(2).
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> rustix::io::Result<()> {
    // SAFETY: setns takes two integers and touches no memory of ours.
    unsafe { syscall!(libc::SYS_setns, fd.as_raw_fd(), flags as libc::c_int)? };
    Ok(())
}

/// Moves the caller into new namespaces `flags`, unshare(2); NEWPID and NEWTIME apply to
/// its children alone.
pub fn unshare(flags: u64) -> rustix::io::Result<()> {
    // SAFETY: only namespace flags are passed by callers; no CLONE_FILES or
    // CLONE_VM, so nothing that Rust relies on is unshared.
    unsafe { syscall!(libc::SYS_unshare, flags as libc::c_int)? };
    Ok(())
}
