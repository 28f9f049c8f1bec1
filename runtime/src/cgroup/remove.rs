//! Taking the container's cgroup away, with what the container made in it.

use super::group::Cgroup;
use super::{kill, systemd};
use crate::error::{Context, Result};
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// A process that was killed and reaped may hold its cgroup a moment longer:
/// the kernel drops it after the parent was told.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes every directory; what is gone already is fine.
    pub fn remove(&self) -> Result<()> {
        if let Some(unit) = &self.unit {
            // A unit whose cgroup is gone ends by itself: a bus that can't be
            // reached, as after a logout, keeps nobody from clearing up.
            let _ = systemd::stop(unit);
        }
        for dir in &self.dirs {
            self.remove_dir(&dir.path)?;
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        let what = || format!("remove cgroup {}", path.display());
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            match rmdir(path) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) if Instant::now() < deadline => {}
                Err(errno) => return Err(errno).doing(what),
            }
            for dir in kill::tree(path) {
                let _ = rmdir(&dir);
            }
            if matches!(rmdir(path), Ok(()) | Err(Errno::NOENT)) {
                return Ok(());
            }
            // Not all processes of a container end with the pid namespace of its init:
            // the intermediate process of an exec is in none, and may be frozen or
            // stopped here for ever.
            self.kill_all().doing(what)?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

fn rmdir(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)
}
