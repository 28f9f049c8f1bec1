//! The host's cgroup hierarchies, and the caller's cgroup in each. From two calls:
//! /proc/self/cgroup, and statfs(2) of /sys/fs/cgroup. mountinfo is not read: it has a line
//! for each mount of the host.

use super::proc_cgroup;
use crate::error::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};

/// Where cgroups are mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";
/// linux/magic.h
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Only cgroup v2, mounted at /sys/fs/cgroup (not hybrid).
    pub pure_v2: bool,
    pub hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// The controllers as in /proc/self/cgroup: `cpu,cpuacct`, `name=systemd`; empty for
    /// cgroup v2.
    pub name: String,
    pub mount: PathBuf,
    /// The caller's cgroup, relative to the mount point, with a leading slash.
    pub own: String,
}

impl Hierarchy {
    /// Whether this is the hierarchy of cgroup v2.
    pub fn is_v2(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether it has the controller.
    pub fn has(&self, controller: &str) -> bool {
        self.name.split(',').any(|name| name == controller)
    }

    /// Name of the hierarchy's directory in /sys/fs/cgroup.
    pub fn directory(&self) -> &str {
        match self.name.strip_prefix("name=") {
            Some(name) => name,
            None if self.is_v2() => "unified",
            None => &self.name,
        }
    }
}

impl Layout {
    /// Reads the layout. Errors: those of reading /proc/self/cgroup.
    pub fn probe() -> Result<Self> {
        let is_v2 = |path: &Path| rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC);
        let read = || {
            let file = rustix::fs::open("/proc/self/cgroup", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            crate::path::read_all(&file, 4095)
        };
        let text = read().doing(|| "read /proc/self/cgroup")?;
        let mut layout = Self::from_text(&String::from_utf8_lossy(&text), is_v2(Path::new(MOUNT)));
        // The kernel always lists cgroup v2; on a v1 host it may not be mounted.
        layout.hierarchies.retain(|h| layout.pure_v2 || !h.is_v2() || is_v2(&h.mount));
        Ok(layout)
    }

    fn from_text(text: &str, pure_v2: bool) -> Self {
        let mut hierarchies: Vec<Hierarchy> = proc_cgroup::hierarchies(text)
            .map(|(name, own)| Hierarchy { name: name.to_owned(), mount: PathBuf::new(), own: own.to_owned() })
            .filter(|hierarchy| hierarchy.is_v2() || !pure_v2)
            .collect();
        for hierarchy in &mut hierarchies {
            hierarchy.mount = if pure_v2 { MOUNT.into() } else { Path::new(MOUNT).join(hierarchy.directory()) };
        }
        Layout { pure_v2, hierarchies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_all_hierarchies_in_their_places() {
        let layout = Layout::from_text("3:cpu,cpuacct:/a\n1:name=systemd:/\n0::/b:c\n", false);
        let mounts: Vec<_> = layout.hierarchies.iter().map(|h| h.mount.to_str().unwrap()).collect();
        assert_eq!(mounts, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]);
        assert_eq!(layout.hierarchies[2].own, "/b:c");
        assert!(layout.hierarchies[0].has("cpuacct") && !layout.hierarchies[0].has("cpu,cpuacct"));
    }

    #[test]
    fn a_v2_host_has_one() {
        let layout = Layout::from_text("3:cpu:/\n0::/user.slice\n", true);
        assert_eq!(layout.hierarchies.len(), 1);
        assert_eq!(layout.hierarchies[0].mount, Path::new("/sys/fs/cgroup"));
    }
}
