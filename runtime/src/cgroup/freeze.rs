//! Stopping all processes of a cgroup at once, and letting them go on.

use super::{Cgroup, read, write};
use crate::bail;
use crate::error::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use std::path::Path;

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
    loop {
        rustix::fs::seek(&events, rustix::fs::SeekFrom::Start(0)).doing(what)?;
        let text = crate::path::read_all(&events, 255).doing(what)?;
        if String::from_utf8_lossy(&text).lines().any(|line| line == wanted) {
            return Ok(());
        }
        // The file signals each change with POLLPRI.
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(what),
        }
    }
}
