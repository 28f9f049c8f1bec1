//! Signals and kills all processes of a cgroup.

use super::dir::{read, write};
use super::group::Cgroup;
use crate::error::{Context, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Most pidfds held at once: RLIMIT_NOFILE applies.
const MAX_PIDFDS: usize = 256;
/// Rounds in which all listed processes had ended before a pidfd was opened, in a row.
const MAX_IDLE_ROUNDS: u32 = 100;

/// The cgroup directories at and below `root`, deepest first.
pub fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        if let Ok(entries) = std::fs::read_dir(&dir) {
            open.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            found.push(dir);
        }
    }
    found.reverse();
    found
}

impl Cgroup {
    /// The hierarchy in which processes are listed.
    pub(super) fn procs_dir(&self) -> Option<&Path> {
        let dir = self.v2().filter(|_| self.pure_v2).or_else(|| self.controller("pids")).or_else(|| self.dirs.first());
        dir.map(|dir| dir.path.as_path())
    }

    /// Pids of all processes in the cgroup and below, in the caller's pid namespace. For display
    /// only: a pid may be reused at any time.
    pub fn processes(&self) -> Vec<Pid> {
        let Some(root) = self.procs_dir() else { return Vec::new() };
        let mut pids: Vec<Pid> = tree(root).iter().flat_map(|dir| read_procs(dir)).collect();
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        pids.dedup();
        pids
    }

    /// Sends `signal` to every process of the cgroup. With `may_freeze` the cgroup is frozen
    /// meanwhile, if possible: processes that fork would be missed otherwise.
    pub fn signal_all(&self, signal: i32, may_freeze: bool) -> Result<()> {
        if signal == libc::SIGKILL {
            self.write_cgroup_kill();
        }
        let frozen = may_freeze && signal != libc::SIGKILL && self.freeze();
        let sent = self.signal_each(signal, &mut Vec::new());
        if frozen {
            self.set_frozen(false)?;
        }
        sent.map(drop)
    }

    /// Kills every process of the cgroup and waits until none is left.
    pub fn kill_all(&self) -> Result<()> {
        self.thaw_for_kill()?;
        let (mut idle, mut is_first) = (0, true);
        loop {
            // No process escapes by forking: cgroup.kill is atomic; without it the cgroup is
            // frozen meanwhile. On a hybrid host, a process that has left the cgroup of v2 only
            // escapes cgroup.kill: processes that are still listed afterwards are frozen too.
            // With neither, the list is read until it stays empty.
            let may_escape = !self.write_cgroup_kill() || !is_first;
            let frozen = may_escape && self.dirs.iter().any(|dir| dir.has("freezer")) && self.freeze();
            is_first = false;
            let mut killed = Vec::new();
            let sent = self.signal_each(libc::SIGKILL, &mut killed);
            if frozen {
                self.set_frozen(false)?;
            }
            let found = sent?;
            idle = if killed.is_empty() { idle + 1 } else { 0 };
            if found == 0 || idle == MAX_IDLE_ROUNDS {
                return Ok(());
            }
            for pidfd in &killed {
                self.wait_killed(pidfd)?;
            }
        }
    }

    /// cgroup.kill (Linux 5.14); absent in the root cgroup. Returns whether it was written.
    fn write_cgroup_kill(&self) -> bool {
        self.v2().is_some_and(|dir| write(&dir.path, "cgroup.kill", "1").is_ok())
    }

    /// Whether this call has frozen the cgroup. Fails for a process that hangs in the kernel.
    fn freeze(&self) -> bool {
        self.freezer().is_some() && !self.is_frozen() && self.set_frozen(true).is_ok()
    }

    /// Sends `signal` to each listed process, keeps pidfds of some in `sent` to wait for, and
    /// returns how many were listed.
    ///
    /// The list has pids. A pid may be reused by any process of the host before it is
    /// signalled. So a pidfd is opened first, and the pid must then be listed again: then it is
    /// the process behind the pidfd, or that one has ended and the signal fails with ESRCH.
    fn signal_each(&self, signal: i32, sent: &mut Vec<OwnedFd>) -> Result<usize> {
        let Some(root) = self.procs_dir() else { return Ok(0) };
        let mut found = 0;
        for dir in tree(root) {
            let pids = read_procs(&dir);
            found += pids.len();
            for some in pids.chunks(MAX_PIDFDS) {
                let mut held = Vec::with_capacity(some.len());
                for pid in some {
                    match pidfd_open(*pid, PidfdFlags::empty()) {
                        Ok(pidfd) => held.push((*pid, pidfd)),
                        Err(Errno::SRCH | Errno::INVAL) => {}
                        Err(errno) => return Err(errno).doing(|| format!("open process {pid}")),
                    }
                }
                let still: HashSet<Pid> = read_procs(&dir).into_iter().collect();
                for (pid, pidfd) in held.into_iter().filter(|(pid, _)| still.contains(pid)) {
                    match crate::sys::signal::pidfd_send_signal(pidfd.as_fd(), signal) {
                        Ok(()) if sent.len() < MAX_PIDFDS => sent.push(pidfd),
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => return Err(errno).doing(|| format!("send signal {signal} to process {pid}")),
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The processes of one cgroup.
fn read_procs(dir: &Path) -> Vec<Pid> {
    let text = read(dir, "cgroup.procs").unwrap_or_default();
    // 0: a process in a pid namespace that is not visible from here.
    text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()
}
