//! Where a container's cgroup is, as it stands in the state record.

use super::dir::Dir;
use crate::plan::cgroup::unit::Unit;
use serde::{Deserialize, Serialize};

/// Where a container's cgroup is. What is written here exists or may exist:
/// it is recorded before anything is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    pub pure_v2: bool,
    pub dirs: Vec<Dir>,
    /// systemd's unit, which has the cgroup; it goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Cgroup {
    /// The directory of cgroup v2.
    pub fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.is_v2())
    }

    /// The directory of the hierarchy that has `controller`.
    pub fn controller(&self, controller: &str) -> Option<&Dir> {
        match self.pure_v2 {
            true => self.v2(),
            false => self.dirs.iter().find(|dir| dir.has(controller)),
        }
    }
}
