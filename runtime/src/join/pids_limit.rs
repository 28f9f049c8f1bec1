//! An exec at the container's `pids` limit, with room for its program's process alone.
//!
//! The intermediate process is in the container's cgroup, so that the program's process is
//! born there, and counts too: at the limit the fork fails with EAGAIN. Then the runtime
//! moves the intermediate process out, and the new process in: pids.max does not apply to
//! migration (cgroup-v2.rst, "PID").
//!
//! In between the new process is seen in the container, but is outside of the cgroup: a
//! process that took it over would escape limits and device rules. So it is born traced by
//! the runtime (CLONE_PTRACE) and stopped before its first instruction; a traced process
//! can't be attached to by another tracer. It continues when it is in its cgroup.

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::host::proc_cgroup;
use crate::ipc::protocol::{Channel, Message};
use crate::ipc::watch::Watch;
use crate::sys::clone;
use crate::sys::{ptrace, signal};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::path::{Path, PathBuf};

/// In the intermediate process: asks to be moved out, and forks again, traced.
pub fn clone_traced(runtime: &Channel) -> Result<Option<Pid>> {
    runtime.send(&Message::Full)?;
    runtime.expect(&Message::Placed)?;
    ptrace::trace_me().doing(|| "trace the new process (PTRACE_TRACEME)")?;
    clone::fork_sibling(clone::PTRACE).doing(|| "clone the new process")
}

/// The cgroup of the `pids` controller that the intermediate process was in.
#[derive(Debug)]
pub struct PidsCgroup(PathBuf);

/// In the runtime: moves the intermediate process to the runtime's own `pids` cgroup.
pub fn move_out(between: Pid, pure_v2: bool) -> Result<PidsCgroup> {
    let left = pids_cgroup(&between.as_raw_nonzero().to_string(), pure_v2)?;
    move_to_cgroup(&pids_cgroup("self", pure_v2)?, between)?;
    Ok(PidsCgroup(left))
}

/// In the runtime: moves the stopped new process into the cgroup, and detaches from it.
pub fn move_in(pid: Pid, left: &PidsCgroup, watch: &Watch) -> Result<()> {
    let children = signal::signalfd_for(&[libc::SIGCHLD]).doing(|| "wait for the new process (signalfd)")?;
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    loop {
        match waitid(WaitId::Pid(pid), options).doing(|| "wait for the new process")? {
            Some(status) if status.stopped() || status.trapped() => break,
            Some(_) => bail!("exec: the new process ended before it was ready"),
            None => {}
        }
        watch.wait(children.as_fd())?;
        signal::read_signalfd(children.as_fd()).doing(|| "wait for the new process (read its signalfd)")?;
    }
    move_to_cgroup(&left.0, pid)?;
    ptrace::detach(pid).doing(|| "continue the new process (PTRACE_DETACH)")
}

/// Writes `pid` to cgroup.procs of `dir`.
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's cgroups")]
fn move_to_cgroup(dir: &Path, pid: Pid) -> Result<()> {
    let what = || format!("move process {} into cgroup {}", pid.as_raw_nonzero(), dir.display());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir.join("cgroup.procs"), flags, Mode::empty()).doing(what)?;
    crate::path::write_all(&file, pid.as_raw_nonzero().to_string().as_bytes()).doing(what)
}

/// The cgroup of a process in the hierarchy of the `pids` controller, cgroups(7).
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's /proc")]
fn pids_cgroup(process: &str, pure_v2: bool) -> Result<PathBuf> {
    let path = format!("/proc/{process}/cgroup");
    let text = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    pids_cgroup_path(&text, pure_v2).ok_or_else(|| Error::new(format!("{path} has no cgroup of the pids controller")))
}

/// The same from the text of /proc/PID/cgroup.
fn pids_cgroup_path(text: &str, pure_v2: bool) -> Option<PathBuf> {
    let mut hierarchies = proc_cgroup::hierarchies(text);
    let counts = |controllers: &str| match pure_v2 {
        true => controllers.is_empty(),
        false => controllers.split(',').any(|name| name == "pids"),
    };
    let (controllers, path) = hierarchies.find(|(controllers, _)| counts(controllers))?;
    Some(Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_count_in_the_hierarchy_of_their_controller() {
        let text = "5:cpu,cpuacct:/x\n4:pids:/a/b\n0::/c:d\n";
        assert_eq!(pids_cgroup_path(text, false), Some("/sys/fs/cgroup/pids/a/b".into()));
        assert_eq!(pids_cgroup_path(text, true), Some("/sys/fs/cgroup/c:d".into()));
        assert_eq!(pids_cgroup_path("0::/\n", false), None);
    }
}
