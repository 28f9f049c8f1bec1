//! What a container may leave behind: nothing.

use std::path::{Path, PathBuf};

/// What there was before.
#[derive(Debug)]
pub struct Left {
    id: String,
    mounts: usize,
}

impl Left {
    pub fn now(id: &str) -> Self {
        Left { id: id.to_owned(), mounts: mounts(id).len() }
    }

    /// Panics if a mount, a cgroup, a process or a state file has stayed.
    #[track_caller]
    pub fn check(&self, root: &Path) {
        let mounts = mounts(&self.id);
        assert_eq!(mounts.len(), self.mounts, "mounts stayed: {mounts:?}");
        let cgroups = cgroups(&self.id);
        assert!(cgroups.is_empty(), "cgroups stayed: {cgroups:?}");
        let state: Vec<_> = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        assert!(state.is_empty(), "state stayed: {state:?}");
        let processes = processes(&self.id);
        assert!(processes.is_empty(), "processes stayed: {processes:?}");
    }
}

fn mounts(id: &str) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    text.lines().filter(|line| line.contains(id)).map(String::from).collect()
}

/// The directories of that name in any hierarchy.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    [PathBuf::from("/sys/fs/cgroup")]
        .into_iter()
        .chain(hierarchies)
        .map(|dir| dir.join(id))
        .filter(|p| p.is_dir())
        .collect()
}

/// Processes whose cgroup has that name.
fn processes(id: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("list /proc").flatten();
    all.filter_map(|entry| {
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        cgroup
            .lines()
            .any(|line| line.rsplit('/').next() == Some(id))
            .then(|| entry.file_name().to_string_lossy().into_owned())
    })
    .collect()
}
