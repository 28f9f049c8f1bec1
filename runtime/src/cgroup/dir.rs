//! One directory of a hierarchy, and the files in it.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One directory, as it stands in the state record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// The hierarchy's name, empty for cgroup v2.
    pub hierarchy: String,
    pub path: PathBuf,
}

impl Dir {
    pub fn is_v2(&self) -> bool {
        self.hierarchy.is_empty()
    }

    pub fn has(&self, controller: &str) -> bool {
        self.hierarchy.split(',').any(|name| name == controller)
    }

    /// The name under which a container sees it; cgroup v2 beside v1 is `unified`.
    pub fn shown_as(&self) -> &str {
        match self.hierarchy.strip_prefix("name=") {
            Some(name) => name,
            None if self.is_v2() => "unified",
            None => &self.hierarchy,
        }
    }
}

/// Writes `value` to an existing `file` of a cgroup.
pub fn write(dir: &Path, file: &str, value: &str) -> rustix::io::Result<()> {
    let fd = rustix::fs::open(dir.join(file), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    crate::path::write_all(&fd, value.as_bytes())
}

/// Reads a `file` of a cgroup: at once, but for the list of processes, which may be of any
/// length.
pub fn read(dir: &Path, file: &str) -> rustix::io::Result<String> {
    let fd = rustix::fs::open(dir.join(file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let text = match file {
        // As long as it likes.
        "cgroup.procs" => crate::path::read_all(&fd, 4095)?,
        _ => crate::path::read_once(&fd)?,
    };
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}
