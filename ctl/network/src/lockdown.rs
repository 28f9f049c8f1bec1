//! What this process can still do once it has opened what it needs: talk on its sockets, to its
//! children and to open files. While a container runs, what it says over netlink reaches a process that can
//! open, run and mount nothing.

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;

/// Those of talking on sockets, of an event loop, of memory and of ending.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_flock,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Those that the process which stays needs beside: sockets come and go, and the host's resolv.conf is read.
const RESIDENT: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_setsockopt,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_getuid,
    libc::SYS_clock_getres,
];

/// Any other system call kills the process, and of the capabilities CAP_NET_ADMIN is left.
pub fn enter() -> Result<()> {
    keep_capabilities(&CapsHashSet::from([Capability::CAP_NET_ADMIN]))?;
    filter(ALLOWED, SeccompAction::KillProcess)
}

/// Any other system call fails, and no capability is left: the end of this process would be that of others'
/// names.
pub fn reside() -> Result<()> {
    keep_capabilities(&CapsHashSet::new())?;
    let denied = SeccompAction::Errno(u32::try_from(libc::EPERM).context("seccomp")?);
    filter(&[ALLOWED, RESIDENT].concat(), denied)
}

/// Of the capabilities CAP_NET_ADMIN is left, for programs that are run too.
pub fn keep_net_admin() -> Result<()> {
    let only = CapsHashSet::from([Capability::CAP_NET_ADMIN]);
    let bounding = caps::read(None, CapSet::Bounding).context("read capabilities")?;
    for other in bounding.difference(&only) {
        caps::drop(None, CapSet::Bounding, *other).context("drop capabilities")?;
    }
    keep_capabilities(&only)
}

fn keep_capabilities(only: &CapsHashSet) -> Result<()> {
    for (set, kept) in
        [(CapSet::Inheritable, &CapsHashSet::new()), (CapSet::Effective, only), (CapSet::Permitted, only)]
    {
        caps::set(None, set, kept).context("drop capabilities")?;
    }
    Ok(())
}

fn filter(allowed: &[i64], other: SeccompAction) -> Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).context("seccomp")?;
    let rules: BTreeMap<i64, Vec<SeccompRule>> = allowed.iter().map(|number| (*number, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, other, SeccompAction::Allow, arch).context("seccomp")?;
    let program: BpfProgram = filter.try_into().context("seccomp")?;
    seccompiler::apply_filter(&program).context("seccomp")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Where this test runs itself, as the process that is locked down.
    const CHILD: &str = "FIRN_NETWORK_LOCKED_DOWN";

    #[test]
    fn what_is_not_allowed_is_the_end() {
        if std::env::var_os(CHILD).is_some() {
            super::enter().expect("lock down");
            let opened = std::fs::File::open("/dev/null");
            unreachable!("{opened:?}");
        }
        let name = "lockdown::tests::what_is_not_allowed_is_the_end";
        let mut own = Command::new(std::env::current_exe().expect("our own path"));
        // One thread: the filter is of the one that asks for it.
        let output = own.args([name, "--exact", "--test-threads", "1"]).env(CHILD, "1").output().expect("run");
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
    }
}
