//! The seccomp filter, and which process loads it.

use super::process::ProcessPlan;
use crate::error::{Context, Result};
use crate::log::Log;
use crate::seccomp::{self, Filter};
use crate::spec::linux::Linux;
use crate::sys::clone;
use rustix::process::Resource;

/// The compiled profile, if the config has one.
pub fn plan(linux: &Linux, log: &Log) -> Result<Option<Filter>> {
    // An empty profile means none, as for runc.
    let given = linux.seccomp.as_ref().filter(|spec| !(spec.default_action.is_empty() && spec.syscalls.is_empty()));
    given.map(|spec| seccomp::compile(spec, log)).transpose().doing(|| "linux.seccomp")
}

/// Whether the filter lets an intermediate process create the final one and exit, as in
/// `init/pid_namespace.rs` and `join/`. Otherwise the final process loads the filter.
pub fn lets_fork(filter: &Filter, process: &ProcessPlan) -> bool {
    let has_limit = process.rlimits.iter().any(|(resource, _)| *resource == Resource::Nproc);
    let calls = [
        (true, libc::SYS_clone, [clone::PARENT, 0]),
        (true, libc::SYS_write, [0, 0]),
        (true, libc::SYS_read, [0, 0]),
        (true, libc::SYS_exit_group, [0, 0]),
        (true, libc::SYS_close, [0, 0]),
        (true, libc::SYS_setsid, [0, 0]),
        (process.terminal, libc::SYS_ioctl, [0, libc::TIOCSCTTY]),
        (has_limit, libc::SYS_prlimit64, [0, 0]),
        (filter.listener.is_some(), libc::SYS_sendmsg, [0, 0]),
    ];
    calls.iter().filter(|(needed, ..)| *needed).all(|(_, number, arguments)| filter.allows(*number, *arguments))
}
