//! The container's cgroup, as stored in the state record.

use super::dir::Dir;
use crate::plan::cgroup::unit::Unit;
use serde::{Deserialize, Serialize};

/// The container's cgroup: one directory in each hierarchy. It is recorded before the
/// directories are created, so they exist or may exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    pub pure_v2: bool,
    pub dirs: Vec<Dir>,
    /// systemd's unit that owns the cgroup; it is stopped before the directories are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Cgroup {
    /// The directory in the hierarchy of cgroup v2.
    pub fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.is_v2())
    }

    /// The directory in the hierarchy with `controller`.
    pub fn controller(&self, controller: &str) -> Option<&Dir> {
        match self.pure_v2 {
            true => self.v2(),
            false => self.dirs.iter().find(|dir| dir.has(controller)),
        }
    }
}
