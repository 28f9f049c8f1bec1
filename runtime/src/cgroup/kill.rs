//! The processes of a cgroup, and the end of all of them.

use super::{Cgroup, read, write};
use crate::error::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::path::{Path, PathBuf};

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

    /// All processes in the cgroup and below, as seen from here.
    pub fn processes(&self) -> Vec<Pid> {
        let Some(root) = self.listed() else { return Vec::new() };
        let mut pids: Vec<i32> = tree(root)
            .iter()
            .filter_map(|dir| read(dir, "cgroup.procs").ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// Sends `signal` to every process of the cgroup.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        for pid in self.processes() {
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            match crate::sys::signal::send(pidfd.as_fd(), signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno).doing(|| format!("send signal {signal} to process {pid}")),
            }
        }
        Ok(())
    }

    /// Kills every process of the cgroup and waits until none is left. Nothing
    /// escapes by forking: cgroup.kill is atomic (Linux 5.14), and without it
    /// the list is read until it stays empty.
    pub fn kill_all(&self) -> Result<()> {
        self.let_die()?;
        if let Some(dir) = self.v2() {
            // Absent on the mount's root and before 5.14: the loop does it all.
            let _ = write(&dir.path, "cgroup.kill", "1");
        }
        loop {
            let pids = self.processes();
            let mut killed: Vec<OwnedFd> = Vec::with_capacity(pids.len());
            for pid in pids {
                let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
                match pidfd_send_signal(&pidfd, Signal::KILL) {
                    Ok(()) => killed.push(pidfd),
                    Err(Errno::SRCH) => {}
                    Err(errno) => return Err(errno).doing(|| format!("kill process {pid}")),
                }
            }
            if killed.is_empty() {
                return Ok(());
            }
            for pidfd in &killed {
                wait_end(pidfd).doing(|| "wait for a killed process")?;
            }
        }
    }
}

/// Waits until the killed process behind `pidfd` has ended. One that somebody else
/// has frozen, or that waits for a disk that is gone, may never.
pub fn wait_end(pidfd: &OwnedFd) -> rustix::io::Result<()> {
    // As long as runc waits.
    const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&PATIENCE)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
