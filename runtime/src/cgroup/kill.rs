//! The processes of a cgroup, and the end of all of them.

use super::dir::{read, write};
use super::group::Cgroup;
use crate::error::{Context, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// So many pidfds at once, for a process has a limit of open files.
const MOST_HELD: usize = 256;
/// So often in a row all that was listed may be gone before it could be held.
const MOST_IDLE: u32 = 100;

/// The directories of `root` and below it, the deepest first.
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
    /// The hierarchy to ask for processes.
    pub(super) fn listed(&self) -> Option<&Path> {
        let dir = self.v2().filter(|_| self.pure_v2).or_else(|| self.controller("pids")).or_else(|| self.dirs.first());
        dir.map(|dir| dir.path.as_path())
    }

    /// All processes in the cgroup and below, as seen from here. To look at only: a
    /// number may be another process's a moment later.
    pub fn processes(&self) -> Vec<Pid> {
        let Some(root) = self.listed() else { return Vec::new() };
        let mut pids: Vec<Pid> = tree(root).iter().flat_map(|dir| listed_in(dir)).collect();
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        pids.dedup();
        pids
    }

    /// Sends `signal` to every process of the cgroup, while none of them runs if
    /// `may_freeze` and that can be had: what is forked meanwhile would be missed.
    pub fn signal_all(&self, signal: i32, may_freeze: bool) -> Result<()> {
        if signal == libc::SIGKILL {
            self.kill_at_once();
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
            // Nothing escapes by forking: cgroup.kill is atomic, and without it the
            // cgroup is frozen meanwhile. On a hybrid host what has left its cgroup of
            // v2 alone escapes cgroup.kill: what is still listed after that is frozen
            // too. Where there is neither, the list is read until it stays empty.
            let may_escape = !self.kill_at_once() || !is_first;
            let frozen = may_escape && self.dirs.iter().any(|dir| dir.has("freezer")) && self.freeze();
            is_first = false;
            let mut killed = Vec::new();
            let sent = self.signal_each(libc::SIGKILL, &mut killed);
            if frozen {
                self.set_frozen(false)?;
            }
            let found = sent?;
            idle = if killed.is_empty() { idle + 1 } else { 0 };
            if found == 0 || idle == MOST_IDLE {
                return Ok(());
            }
            for pidfd in &killed {
                self.wait_killed(pidfd)?;
            }
        }
    }

    /// Linux 5.14; absent on the mount's root. Whether it could be done.
    fn kill_at_once(&self) -> bool {
        self.v2().is_some_and(|dir| write(&dir.path, "cgroup.kill", "1").is_ok())
    }

    /// Whether it has been frozen by this call. What hangs in the kernel can't be.
    fn freeze(&self) -> bool {
        self.freezer().is_some() && !self.is_frozen() && self.set_frozen(true).is_ok()
    }

    /// Sends `signal` to each process, of which some are left in `sent` to wait for,
    /// and returns how many were listed.
    ///
    /// The list has numbers, and by the time that one is used its process may have
    /// ended and the number may be that of any process of the machine. So each is
    /// held by a pidfd first, and must then be listed again: what is listed then is
    /// the process that is held, or else the held one has ended, and a signal to it
    /// goes nowhere (ESRCH).
    fn signal_each(&self, signal: i32, sent: &mut Vec<OwnedFd>) -> Result<usize> {
        let Some(root) = self.listed() else { return Ok(0) };
        let mut found = 0;
        for dir in tree(root) {
            let pids = listed_in(&dir);
            found += pids.len();
            for some in pids.chunks(MOST_HELD) {
                let mut held = Vec::with_capacity(some.len());
                for pid in some {
                    match pidfd_open(*pid, PidfdFlags::empty()) {
                        Ok(pidfd) => held.push((*pid, pidfd)),
                        Err(Errno::SRCH | Errno::INVAL) => {}
                        Err(errno) => return Err(errno).doing(|| format!("open process {pid}")),
                    }
                }
                let still: HashSet<Pid> = listed_in(&dir).into_iter().collect();
                for (pid, pidfd) in held.into_iter().filter(|(pid, _)| still.contains(pid)) {
                    match crate::sys::signal::pidfd_send_signal(pidfd.as_fd(), signal) {
                        Ok(()) if sent.len() < MOST_HELD => sent.push(pidfd),
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
fn listed_in(dir: &Path) -> Vec<Pid> {
    let text = read(dir, "cgroup.procs").unwrap_or_default();
    // 0: a process of a pid namespace that is not seen from here.
    text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()
}
