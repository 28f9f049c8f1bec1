//! Reports OOM kills in a container.

use super::dir::{Dir, read, write};
use super::group::Cgroup;
use crate::error::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use std::time::Duration;

/// `fd` is readable after a change; `happened` tells whether it was an OOM kill.
#[derive(Debug)]
pub struct Watch {
    pub fd: OwnedFd,
    dir: Dir,
    pure_v2: bool,
    known: u64,
    /// How often to look still for a kill that was announced.
    looks: u32,
}

/// For ten seconds: the victim may be slow to die, or there is none (oom_kill_disable).
const LOOKS: u32 = 500;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Watches the container's memory controller. None if it has none.
pub fn watch(cgroup: &Cgroup) -> Result<Option<Watch>> {
    let Some(dir) = cgroup.controller("memory") else { return Ok(None) };
    let fd = if cgroup.pure_v2 { watch_v2(dir) } else { watch_v1(dir) };
    let fd = fd.doing(|| format!("watch the memory of cgroup {}", dir.path.display()))?;
    let mut watch = Watch { fd, dir: dir.clone(), pure_v2: cgroup.pure_v2, known: 0, looks: 0 };
    watch.known = watch.count();
    Ok(Some(watch))
}

/// inotify(7) on memory.events, cgroup-v2.rst.
fn watch_v2(dir: &Dir) -> rustix::io::Result<OwnedFd> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, dir.path.join("memory.events"), WatchFlags::MODIFY)?;
    Ok(fd)
}

/// An eventfd(2) registered for memory.oom_control, cgroup-v1/memory.rst.
fn watch_v1(dir: &Dir) -> rustix::io::Result<OwnedFd> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control =
        rustix::fs::open(dir.path.join("memory.oom_control"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&dir.path, "cgroup.event_control", &format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()))?;
    Ok(fd)
}

impl Watch {
    fn count(&self) -> u64 {
        let file = if self.pure_v2 { "memory.events" } else { "memory.oom_control" };
        let text = read(&self.dir.path, file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether there was an OOM kill since the last call.
    pub fn happened(&mut self) -> bool {
        let mut buffer = [0u8; 4096];
        while let Ok(length) = rustix::io::read(&self.fd, &mut buffer) {
            self.looks = LOOKS;
            if length < buffer.len() {
                break;
            }
        }
        let count = self.count();
        let more = count > self.known;
        self.known = count;
        self.looks = if more { 0 } else { self.looks.saturating_sub(1) };
        more
    }

    /// When to call [`Watch::happened`] again though nothing is readable: cgroup v1 announces that memory has run
    /// out before anything is killed, and says nothing afterwards.
    pub fn look_again(&self) -> Option<Duration> {
        (self.looks > 0).then_some(LOOK_INTERVAL)
    }
}
