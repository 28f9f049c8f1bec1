//! Removes the container's cgroup with its child cgroups.

use super::dir::read;
use super::group::Cgroup;
use super::{kill, systemd};
use crate::error::{Context, Result};
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// Limit of waiting for EBUSY: the kernel releases the cgroup of a reaped process after its
/// parent was notified, and a killed process ends when its system call does. On a machine that
/// is overloaded both take seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

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
                Err(errno) => return Err(errno).doing(|| what() + &occupants(path)),
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

/// The processes that are left in a cgroup, with their states (proc_pid_status(5)), for an
/// error's text.
fn occupants(path: &Path) -> String {
    let state = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        Some(format!("{pid} ({}, {})", line("Name:")?, line("State:")?))
    };
    let listed = |dir: &std::path::PathBuf| read(dir, "cgroup.procs").unwrap_or_default();
    let texts: Vec<String> = kill::tree(path).iter().map(listed).collect();
    let processes: Vec<String> = texts.iter().flat_map(|text| text.lines()).filter_map(state).collect();
    if processes.is_empty() { String::new() } else { format!(", in which is process {}", processes.join(", ")) }
}

fn rmdir(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)
}
