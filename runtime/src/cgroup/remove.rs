//! Removes the container's cgroup with its child cgroups.

use super::group::Cgroup;
use super::{kill, systemd};
use crate::error::{Context, Result};
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// Limit of waiting for EBUSY: the kernel releases the cgroup of a reaped process after its
/// parent was notified.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes every directory; absent ones are no error. Errors: EBUSY after `TIMEOUT`.
    pub fn remove(&self) -> Result<()> {
        if let Some(unit) = &self.unit {
            // A unit whose cgroup is gone stops by itself, so a bus that can't be reached, as
            // after a logout, must not prevent the removal.
            let _ = systemd::stop(unit);
        }
        for dir in &self.dirs {
            self.remove_dir(&dir.path)?;
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        let what = || format!("remove cgroup {}", path.display());
        let deadline = Instant::now() + TIMEOUT;
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
            // Processes may outlive the pid namespace of init: the intermediate process of an
            // exec is not in it, and may be frozen or stopped in this cgroup for ever.
            self.kill_all().doing(what)?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

fn rmdir(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)
}
