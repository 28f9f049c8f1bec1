//! Whether the kernel's OOM killer has killed in a container's cgroup. cgroup v1 and v2 both count
//! until the runtime removes the cgroup.

use firn::state::proc_cgroup::hierarchies;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// The files that count a container's OOM kills.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct OomCounters(Vec<PathBuf>);

impl OomCounters {
    /// Those of the cgroups of process `pid`.
    pub(super) fn of(pid: i32) -> OomCounters {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        OomCounters(counter_files(&cgroups, &own))
    }

    /// Whether any counts a kill; `None` if none can be read.
    pub(super) fn has_killed(&self) -> Option<bool> {
        let texts = self.0.iter().filter_map(|path| fs::read_to_string(path).ok());
        texts.filter_map(|text| kill_count(&text)).map(|kills| kills > 0).reduce(|a, b| a || b)
    }
}

/// From the lines of /proc/PID/cgroup, `ID:CONTROLLERS:PATH` (cgroups(7)). A cgroup that is also the
/// monitor's (`own`) says nothing about the container, and one outside our cgroup namespace
/// (`/..`) can't be found.
fn counter_files(cgroups: &str, own: &str) -> Vec<PathBuf> {
    let containers = hierarchies(cgroups).filter(|theirs| hierarchies(own).all(|ours| ours != *theirs));
    let file = |(controllers, path): (&str, &str)| {
        if path == "/" || path.contains("/..") {
            return None;
        }
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/memory.events")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(format!("/sys/fs/cgroup/{controllers}{path}/memory.oom_control"))
            }
            _ => None,
        }
    };
    containers.filter_map(file).map(PathBuf::from).collect()
}

/// Field `oom_kill` of memory.events (v2) and memory.oom_control (v1, since Linux 4.13).
fn kill_count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_files_of_both_versions() {
        let cgroups = "8:pids:/c\n4:memory:/c/m\n1:cpu:/\n0::/c\n";
        let expected = ["/sys/fs/cgroup/memory/c/m/memory.oom_control", "/sys/fs/cgroup/c/memory.events"];
        assert_eq!(counter_files(cgroups, "0::/\n"), expected.map(PathBuf::from));
        assert!(counter_files(cgroups, cgroups).is_empty());
        assert!(counter_files("0::/../x\n0::/\nnonsense\n", "").is_empty());
    }

    #[test]
    fn counts() {
        assert_eq!(kill_count("low 0\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(kill_count("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), Some(0));
        assert_eq!(kill_count(""), None);
    }
}
