//! /proc/PID/cgroup, cgroups(7).

/// The hierarchies of a process, from the file's lines `ID:CONTROLLERS:PATH`: the
/// controllers, separated by commas (`name=systemd` for a named hierarchy, empty for cgroup
/// v2), and the path from the hierarchy's mount point, with a leading slash.
pub fn hierarchies(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_colons() {
        let found: Vec<_> = hierarchies("3:cpu,cpuacct:/a\n1:name=systemd:/\n0::/b:c\ngarbage\n").collect();
        assert_eq!(found, [("cpu,cpuacct", "/a"), ("name=systemd", "/"), ("", "/b:c")]);
    }
}
