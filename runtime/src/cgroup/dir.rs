//! One cgroup directory in a hierarchy, and its files.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A cgroup directory, as stored in the state record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// The hierarchy's name as in /proc/self/cgroup; empty for cgroup v2.
    pub hierarchy: String,
    pub path: PathBuf,
}

impl Dir {
    /// Whether it is in the hierarchy of cgroup v2.
    pub fn is_v2(&self) -> bool {
        self.hierarchy.is_empty()
    }

    /// Whether the hierarchy has the controller (cgroup v1).
    pub fn has(&self, controller: &str) -> bool {
        self.hierarchy.split(',').any(|name| name == controller)
    }

    /// Directory name of the hierarchy in the container's /sys/fs/cgroup; `unified` for cgroup v2
    /// on a hybrid host.
    pub fn shown_as(&self) -> &str {
        match self.hierarchy.strip_prefix("name=") {
            Some(name) => name,
            None if self.is_v2() => "unified",
            None => &self.hierarchy,
        }
    }
}

/// Writes `value` to the existing `file` of a cgroup.
pub fn write(dir: &Path, file: &str, value: &str) -> rustix::io::Result<()> {
    let fd = rustix::fs::open(dir.join(file), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    crate::path::write_all(&fd, value.as_bytes())
}

/// Reads `file` of a cgroup by one read(2), except cgroup.procs, which may have any length.
pub fn read(dir: &Path, file: &str) -> rustix::io::Result<String> {
    let fd = rustix::fs::open(dir.join(file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let text = match file {
        // No bound on its length.
        "cgroup.procs" => crate::path::read_all(&fd, 4095)?,
        _ => crate::path::read_once(&fd)?,
    };
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}
