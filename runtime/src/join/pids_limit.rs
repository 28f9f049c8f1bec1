//! An exec where the container's `pids` limit leaves room for its program alone. The
//! intermediate process lies in the container's cgroup, so that what it makes is born
//! there, and counts as well: with the limit reached, it can't make the program's
//! process (EAGAIN). Then the runtime takes it out of the cgroup that counts, and
//! moves the new process in, to which no limit of `pids` applies (cgroup-v2.rst, "PID").
//!
//! Meanwhile the new process is seen in the container, and outside of a cgroup with
//! limits and device rules: who could use it would escape those. So it is born traced
//! by the runtime (CLONE_PTRACE), stopped before its first instruction; nobody else can
//! trace it, and it runs when it is in its place.

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

/// In the intermediate process: asks for room and clones once more.
pub fn clone_traced(runtime: &Channel) -> Result<Option<Pid>> {
    runtime.send(&Message::Full)?;
    runtime.expect(&Message::Placed)?;
    ptrace::trace_me().doing(|| "have the new process stop at its start")?;
    clone::fork_sibling(clone::PTRACE).doing(|| "clone the new process")
}

/// The cgroup that the new process belongs in.
#[derive(Debug)]
pub struct PidsCgroup(PathBuf);

/// In the runtime: takes the intermediate process to where the runtime itself is.
pub fn move_out(between: Pid, pure_v2: bool) -> Result<PidsCgroup> {
    let left = pids_cgroup(&between.as_raw_nonzero().to_string(), pure_v2)?;
    move_to_cgroup(&pids_cgroup("self", pure_v2)?, between)?;
    Ok(PidsCgroup(left))
}

/// Moves the new process in, which is stopped, and lets it run.
pub fn move_in(pid: Pid, left: &PidsCgroup, watch: &Watch) -> Result<()> {
    let children = signal::signalfd_for(&[libc::SIGCHLD]).doing(|| "watch the new process")?;
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    loop {
        match waitid(WaitId::Pid(pid), options).doing(|| "wait for the new process")? {
            Some(status) if status.stopped() || status.trapped() => break,
            Some(_) => bail!("the new process ended before it was ready"),
            None => {}
        }
        watch.wait(children.as_fd())?;
        signal::read_signalfd(children.as_fd()).doing(|| "read a signal")?;
    }
    move_to_cgroup(&left.0, pid)?;
    ptrace::detach(pid).doing(|| "let the new process run")
}

#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's cgroups")]
fn move_to_cgroup(dir: &Path, pid: Pid) -> Result<()> {
    let what = || format!("move process {} into cgroup {}", pid.as_raw_nonzero(), dir.display());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir.join("cgroup.procs"), flags, Mode::empty()).doing(what)?;
    crate::path::write_all(&file, pid.as_raw_nonzero().to_string().as_bytes()).doing(what)
}

/// Where a process counts: the hierarchy of the `pids` controller, cgroups(7).
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's /proc")]
fn pids_cgroup(process: &str, pure_v2: bool) -> Result<PathBuf> {
    let path = format!("/proc/{process}/cgroup");
    let text = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    pids_cgroup_path(&text, pure_v2).ok_or_else(|| Error::new(format!("{path} has no cgroup that counts processes")))
}

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
