//! The machine's cgroups as cgroup v1 alone or cgroup v2 alone, in a mount
//! namespace of one's own.

use firn::internals::host::cgroup_layout::{Hierarchy, Layout};
use std::path::Path;
use std::process::Command;

/// linux/magic.h
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    V1,
    V2,
}

impl View {
    pub const ALL: [View; 2] = [View::V1, View::V2];

    pub fn name(self) -> &'static str {
        match self {
            View::V1 => "v1",
            View::V2 => "v2",
        }
    }

    /// Whether this machine can show it; controllers can't be moved to v1.
    pub fn is_possible(self) -> bool {
        self == View::V2 || !machine_is_v2()
    }

    /// The shell's lines that bring the view about.
    pub fn script(self) -> &'static str {
        match self {
            View::V1 => "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi",
            View::V2 if machine_is_v2() => ":",
            View::V2 => "mount -t cgroup2 none /sys/fs/cgroup",
        }
    }

    /// `command` in the view, its arguments after the script's.
    pub fn command(self, more: &str, command: &[&std::ffi::OsStr]) -> Command {
        let script = format!("set -e; {}; {more}\nexec \"$@\"", self.script());
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).args(command);
        shell
    }

    /// What a runtime finds there.
    pub fn layout(self) -> Layout {
        let text = std::fs::read_to_string("/proc/self/cgroup").expect("read /proc/self/cgroup");
        let pure_v2 = self == View::V2;
        let hierarchies = text.lines().filter_map(|line| {
            // hierarchy-ID:controller-list:cgroup-path, cgroups(7)
            let (_, rest) = line.split_once(':')?;
            let (name, own) = rest.split_once(':')?;
            let mut hierarchy = Hierarchy { name: name.into(), mount: "/sys/fs/cgroup".into(), own: own.into() };
            if !pure_v2 {
                hierarchy.mount = hierarchy.mount.join(hierarchy.directory());
            }
            let is_mounted = pure_v2 || hierarchy.mount.join("cgroup.procs").exists();
            (hierarchy.is_v2() == pure_v2 && is_mounted).then_some(hierarchy)
        });
        Layout { pure_v2, hierarchies: hierarchies.collect() }
    }
}

fn machine_is_v2() -> bool {
    rustix::fs::statfs(Path::new("/sys/fs/cgroup")).is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC)
}
