//! Whether the kernel's OOM killer was in a container's cgroup. Both layouts
//! keep the count until the runtime removes the cgroup.

use std::fs;
use std::path::PathBuf;

/// The files that count OOM kills, for a container that runs.
#[derive(Debug, Clone, Default)]
pub struct Counters(Vec<PathBuf>);

impl Counters {
    /// Those of the process `pid`, seen from our cgroup namespace.
    pub fn of(pid: i32) -> Counters {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Counters(files(&cgroups, &own))
    }

    /// Whether any of them counted; `None` if none can be read.
    pub fn killed(&self) -> Option<bool> {
        let counts = self.0.iter().filter_map(|path| fs::read_to_string(path).ok());
        counts.filter_map(|text| count(&text)).map(|kills| kills > 0).reduce(|a, b| a || b)
    }
}

/// A cgroup that we share says nothing about the container.
fn files(cgroups: &str, own: &str) -> Vec<PathBuf> {
    let apart = cgroups.lines().filter(|line| own.lines().all(|ours| ours != *line));
    let file = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
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
    apart.filter_map(file).map(PathBuf::from).collect()
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_counts_are() {
        let cgroups = "8:pids:/c\n4:memory:/c/m\n1:cpu:/\n0::/c\n";
        let expected = ["/sys/fs/cgroup/memory/c/m/memory.oom_control", "/sys/fs/cgroup/c/memory.events"];
        assert_eq!(files(cgroups, "0::/\n"), expected.map(PathBuf::from));
        assert!(files(cgroups, cgroups).is_empty());
        assert!(files("0::/../x\n0::/\nnonsense\n", "").is_empty());
    }

    #[test]
    fn counts() {
        assert_eq!(count("low 0\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), Some(0));
        assert_eq!(count(""), None);
    }
}
