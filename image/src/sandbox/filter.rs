//! The system calls of a process that reads what others have written. Any other one kills it
//! (SECCOMP_RET_KILL_PROCESS): none of them is a mistake that could be answered.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::collections::BTreeMap;
use std::io;

/// What the decoder may call: it works on open descriptors and its own memory.
const DECODER: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

/// What the writer may call beside that: it makes files, and has threads.
const WRITER: &[i64] = &[
    libc::SYS_lseek,
    libc::SYS_pwrite64,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_wait4,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_gettid,
    libc::SYS_exit,
];

/// glibc's signal for set*id(2) of all threads (nptl(7)).
const SIGSETXID: u64 = 33;

/// Which process this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Decoder,
    Writer,
}

/// Loads the filter, for this thread and those that it makes.
pub(crate) fn load(role: Role) -> io::Result<()> {
    let load = || -> Result<(), seccompiler::Error> {
        if role == Role::Writer {
            // glibc falls back to clone(2), whose flags a filter can see.
            let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
            let errno = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
            apply_filter(&program(no_clone3, SeccompAction::Allow, errno)?)?;
        }
        apply_filter(&program(rules(role)?, SeccompAction::KillProcess, SeccompAction::Allow)?)
    };
    load().map_err(|error| io::Error::other(format!("load a seccomp filter: {error}")))
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, otherwise, matched, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn rules(role: Role) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DECODER.iter().map(|call| (*call, Vec::new())).collect();
    // Memory is never executable.
    let no_exec = || flags(2, libc::PROT_EXEC.cast_unsigned().into(), 0);
    rules.insert(libc::SYS_mmap, vec![no_exec()?]);
    rules.insert(libc::SYS_mprotect, vec![no_exec()?]);
    // std asserts that a descriptor is open before it closes it.
    rules.insert(libc::SYS_fcntl, vec![is(1, libc::F_GETFD.cast_unsigned().into())?]);
    if role == Role::Writer {
        rules.extend(WRITER.iter().map(|call| (*call, Vec::new())));
        let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
        rules.insert(libc::SYS_clone, vec![flags(0, thread, thread)?]);
        // glibc's own, which the first thread sets up.
        rules.insert(libc::SYS_rt_sigaction, vec![is(0, SIGSETXID)?]);
        rules.insert(libc::SYS_prctl, vec![is(0, libc::PR_SET_NAME.cast_unsigned().into())?]);
    }
    Ok(rules)
}

fn is(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
}

fn flags(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let operation = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::net::{AddressFamily, SocketType};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    const CALL: &str = "FIRN_TEST_CALL";

    /// System calls that both processes must not make.
    const FORBIDDEN: [&str; 7] = ["socket", "execve", "ptrace", "mount", "unshare", "kill", "memory that is code"];

    fn call(name: &str) {
        match name {
            "socket" => drop(rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)),
            "execve" => drop(Command::new("/bin/true").exec()),
            "ptrace" => drop(nix::sys::ptrace::traceme()),
            "mount" => drop(rustix::mount::unmount("/proc", rustix::mount::UnmountFlags::empty())),
            "unshare" => drop(crate::sys::unshare_user_and_mount()),
            "kill" => drop(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::CONT)),
            "memory that is code" => crate::sys::map_code(),
            "open" => drop(rustix::fs::openat(CWD, "/", OFlags::RDONLY, Mode::empty())),
            "thread" => std::thread::spawn(|| ()).join().unwrap(),
            _ => {}
        }
    }

    /// What the other tests run in a process of its own: it ends with status 0 if nothing kills it.
    #[test]
    fn the_call_of_another_test() {
        let Ok(text) = std::env::var(CALL) else { return };
        let (role, name) = text.split_once(' ').unwrap();
        load(if role == "decoder" { Role::Decoder } else { Role::Writer }).unwrap();
        call(name);
        crate::sys::exit_at_once();
    }

    /// The signal that kills a process with the filter.
    fn signal(role: &str, name: &str) -> Option<i32> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "sandbox::filter::tests::the_call_of_another_test";
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CALL, format!("{role} {name}"));
        let output = command.output().unwrap();
        assert!(output.status.success() || output.status.signal().is_some(), "{role}: {name}: {output:?}");
        output.status.signal()
    }

    #[test]
    fn what_is_not_needed_kills() {
        for role in ["decoder", "writer"] {
            for name in FORBIDDEN {
                assert_eq!(signal(role, name), Some(libc::SIGSYS), "{role}: {name}");
            }
            assert_eq!(signal(role, "nothing"), None, "{role}");
        }
        assert_eq!(signal("decoder", "open"), Some(libc::SIGSYS));
        assert_eq!(signal("decoder", "thread"), Some(libc::SIGSYS));
        assert_eq!(signal("writer", "open"), None);
        assert_eq!(signal("writer", "thread"), None);
    }
}
