//! The cgroup freezer: freezes and thaws all processes of a cgroup.

use super::dir::{read, write};
use super::group::Cgroup;
use super::kill;
use crate::bail;
use crate::error::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// Limit of waiting: an ancestor may be frozen, or a process hang in the kernel.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Whether the cgroup is frozen or freezing by itself, not by an ancestor.
    pub fn is_frozen(&self) -> bool {
        if let Some(dir) = self.dirs.iter().find(|dir| dir.has("freezer")) {
            return read(&dir.path, "freezer.self_freezing").is_ok_and(|text| text.trim() == "1");
        }
        self.v2().is_some_and(|dir| read(&dir.path, "cgroup.freeze").is_ok_and(|text| text.trim() == "1"))
    }

    /// The directory with the freezer; None if no hierarchy has one.
    pub fn freezer(&self) -> Option<&Path> {
        let v1 = self.dirs.iter().find(|dir| dir.has("freezer"));
        v1.or_else(|| self.v2()).map(|dir| dir.path.as_path())
    }

    /// Thaws the cgroup and cgroups that the container froze below it, on cgroup v1: there a
    /// frozen process does not die of SIGKILL. On cgroup v2 it does.
    pub fn thaw_for_kill(&self) -> Result<()> {
        let Some(top) = self.dirs.iter().find(|dir| dir.has("freezer")) else { return Ok(()) };
        let mut dirs = kill::tree(&top.path);
        // From the top: while an ancestor is frozen, its descendants stay frozen.
        dirs.reverse();
        let frozen = |dir: &Path| read(dir, "freezer.self_freezing").is_ok_and(|text| text.trim() == "1");
        dirs.iter().filter(|dir| frozen(dir)).try_for_each(|dir| freeze_v1(dir, "THAWED"))
    }

    /// Waits until the killed process behind `pidfd` has ended, and thaws what is frozen
    /// meanwhile. Errors: ETIMEDOUT after `TIMEOUT`, as for a process in uninterruptible sleep.
    pub fn wait_killed(&self, pidfd: &OwnedFd) -> Result<()> {
        const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let begin = Instant::now();
        loop {
            match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&INTERVAL)) {
                Ok(0) if begin.elapsed() > TIMEOUT => {
                    return Err(Errno::TIMEDOUT).doing(|| "wait for a killed process");
                }
                // Again: a process of the container may have frozen it after the first time.
                Ok(0) => self.thaw_for_kill()?,
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "wait for a killed process"),
            }
        }
    }

    /// Freezes or thaws the cgroup, and waits until the kernel reports it. Errors: no cgroup;
    /// the state is not reached in time.
    pub fn set_frozen(&self, frozen: bool) -> Result<()> {
        if let Some(dir) = self.dirs.iter().find(|dir| dir.has("freezer")) {
            return freeze_v1(&dir.path, if frozen { "FROZEN" } else { "THAWED" });
        }
        match self.v2() {
            Some(dir) => freeze_v2(&dir.path, frozen),
            None => bail!("freeze the container: it has no cgroup"),
        }
    }
}

fn freeze_v1(dir: &Path, state: &str) -> Result<()> {
    // A forking process keeps the cgroup FREEZING. Writing the state again helps
    // (cgroup-v1/freezer-subsystem.rst), as does thawing it for a moment.
    const TRIES: u32 = 1000;
    for attempt in 0..TRIES {
        write(dir, "freezer.state", state).doing(|| format!("write {state} to {}/freezer.state", dir.display()))?;
        let now = read(dir, "freezer.state").doing(|| format!("read {}/freezer.state", dir.display()))?;
        if now.trim() == state {
            return Ok(());
        }
        if attempt % 50 == 49 {
            let _ = write(dir, "freezer.state", "THAWED");
        }
        rustix::thread::sched_yield();
    }
    let _ = write(dir, "freezer.state", "THAWED");
    bail!("freeze cgroup {}: freezer.state does not become {state}", dir.display())
}

fn freeze_v2(dir: &Path, frozen: bool) -> Result<()> {
    let what = || format!("freeze cgroup {}", dir.display());
    let events =
        rustix::fs::open(dir.join("cgroup.events"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(what)?;
    write(dir, "cgroup.freeze", if frozen { "1" } else { "0" }).doing(what)?;
    let wanted = format!("frozen {}", u8::from(frozen));
    let begin = Instant::now();
    while let Some(left) = TIMEOUT.checked_sub(begin.elapsed()) {
        rustix::fs::seek(&events, rustix::fs::SeekFrom::Start(0)).doing(what)?;
        let text = crate::path::read_all(&events, 255).doing(what)?;
        if String::from_utf8_lossy(&text).lines().any(|line| line == wanted) {
            return Ok(());
        }
        // cgroup.events signals each change with POLLPRI.
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(what),
        }
    }
    if !frozen {
        bail!("thaw cgroup {}: it stays frozen; is a parent cgroup frozen?", dir.display());
    }
    let _ = write(dir, "cgroup.freeze", "0");
    bail!("freeze cgroup {}: a process in it is in uninterruptible sleep", dir.display())
}
