//! Stopping all processes of a cgroup at once, and letting them go on.

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

/// A cgroup above may be frozen, and a process hang in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Whether the cgroup is frozen or about to be.
    pub fn is_frozen(&self) -> bool {
        if let Some(dir) = self.dirs.iter().find(|dir| dir.has("freezer")) {
            return read(&dir.path, "freezer.self_freezing").is_ok_and(|text| text.trim() == "1");
        }
        self.v2().is_some_and(|dir| read(&dir.path, "cgroup.freeze").is_ok_and(|text| text.trim() == "1"))
    }

    /// The directory in which everything can be frozen.
    pub fn freezer(&self) -> Option<&Path> {
        let v1 = self.dirs.iter().find(|dir| dir.has("freezer"));
        v1.or_else(|| self.v2()).map(|dir| dir.path.as_path())
    }

    /// A frozen process of cgroup v1 does not even die; one of cgroup v2 does. The
    /// container may have frozen cgroups of its own below.
    pub fn thaw_for_kill(&self) -> Result<()> {
        let Some(top) = self.dirs.iter().find(|dir| dir.has("freezer")) else { return Ok(()) };
        let mut dirs = kill::tree(&top.path);
        // From the top: while one above is frozen, those below stay so.
        dirs.reverse();
        let frozen = |dir: &Path| read(dir, "freezer.self_freezing").is_ok_and(|text| text.trim() == "1");
        dirs.iter().filter(|dir| frozen(dir)).try_for_each(|dir| freeze_v1(dir, "THAWED"))
    }

    /// Waits until the killed process behind `pidfd` has ended, and thaws again what
    /// is frozen meanwhile. One that waits for a disk that is gone may never end.
    pub fn wait_killed(&self, pidfd: &OwnedFd) -> Result<()> {
        const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let begin = Instant::now();
        loop {
            match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&LOOK)) {
                Ok(0) if begin.elapsed() > PATIENCE => {
                    return Err(Errno::TIMEDOUT).doing(|| "wait for a killed process");
                }
                // Once more, for whoever froze it was slower than we were.
                Ok(0) => self.thaw_for_kill()?,
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "wait for a killed process"),
            }
        }
    }

    /// Freezes or thaws, and waits until it is so.
    pub fn set_frozen(&self, frozen: bool) -> Result<()> {
        if let Some(dir) = self.dirs.iter().find(|dir| dir.has("freezer")) {
            return freeze_v1(&dir.path, if frozen { "FROZEN" } else { "THAWED" });
        }
        match self.v2() {
            Some(dir) => freeze_v2(&dir.path, frozen),
            None => bail!("the container has no cgroup that could be frozen"),
        }
    }
}

fn freeze_v1(dir: &Path, state: &str) -> Result<()> {
    // A process that forks keeps the cgroup FREEZING; asking again helps
    // (cgroup-v1/freezer-subsystem.rst), and so does letting it run a moment.
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
    bail!("cgroup {} did not become {state}", dir.display())
}

fn freeze_v2(dir: &Path, frozen: bool) -> Result<()> {
    let what = || format!("freeze cgroup {}", dir.display());
    let events =
        rustix::fs::open(dir.join("cgroup.events"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(what)?;
    write(dir, "cgroup.freeze", if frozen { "1" } else { "0" }).doing(what)?;
    let wanted = format!("frozen {}", u8::from(frozen));
    let begin = Instant::now();
    while let Some(left) = PATIENCE.checked_sub(begin.elapsed()) {
        rustix::fs::seek(&events, rustix::fs::SeekFrom::Start(0)).doing(what)?;
        let text = crate::path::read_all(&events, 255).doing(what)?;
        if String::from_utf8_lossy(&text).lines().any(|line| line == wanted) {
            return Ok(());
        }
        // The file signals each change with POLLPRI.
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(what),
        }
    }
    if !frozen {
        bail!("cgroup {} does not thaw: is one above it frozen?", dir.display());
    }
    let _ = write(dir, "cgroup.freeze", "0");
    bail!("cgroup {} does not freeze: a process of it hangs in the kernel", dir.display())
}
