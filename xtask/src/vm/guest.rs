//! The machines: one row each, and what their roots hold.

use crate::Result;

/// A machine that is booted under emulation.
#[derive(Debug, PartialEq, Eq)]
pub struct Guest {
    pub name: &'static str,
    /// Debian's release; guests of the same one share their root.
    pub suite: &'static str,
    /// What it is there for.
    pub about: &'static str,
    /// More words on the kernel's command line.
    pub kernel_line: &'static str,
    /// The tests that it runs by default, by the beginnings of their names; all
    /// that emulation has time for where there is none. The first guest runs
    /// them; the others run what another kernel or another systemd may change.
    pub tests: &'static [&'static [&'static str]],
}

/// On every kernel. podman's checkpoints take minutes, and differ by podman and not
/// by the kernel: the first guest has them.
const OF_KERNEL: &[&str] = &[
    "idmaps::",
    "isolation::the_",
    "machine::apparmor::",
    "machine::checkpoint::a_",
    "machine::checkpoint::connections_",
    "machine::checkpoint::standard_",
    "machine::checkpoint::systemds_",
    "machine::checkpoint::what_",
    "machine::controllers::",
    "machine::rootless::more_ids_",
    "machine::rootless::the_",
    "machine::systemd::",
    "monitor::",
    "namespaces::",
    "resources::a_",
    "resources::places::a_",
    "roots::",
];
/// With the newest peers.
const OF_PEERS: &[&str] = &["cri::", "machine::limits::", "machine::podman::the_life_"];
const OF_CGROUP_V1: &[&str] =
    &["cri::limits_", "lifecycle::", "machine::podman::", "machine::systemd::", "monitor::", "resources::"];

pub const GUESTS: [Guest; 4] = [
    Guest { name: "trixie", suite: "trixie", about: "Debian 13, Linux 6.12, cgroup v2", kernel_line: "", tests: &[] },
    Guest {
        name: "forky",
        suite: "forky",
        about: "Debian 14, Linux 7, cgroup v2",
        kernel_line: "",
        tests: &[OF_KERNEL, OF_PEERS],
    },
    Guest {
        name: "bookworm",
        suite: "bookworm",
        about: "Debian 12, Linux 6.1, cgroup v2",
        kernel_line: "",
        tests: &[OF_KERNEL],
    },
    Guest {
        name: "bookworm-v1",
        suite: "bookworm",
        about: "Debian 12, Linux 6.1, systemd with cgroup v1",
        kernel_line: "systemd.unified_cgroup_hierarchy=0",
        tests: &[OF_CGROUP_V1],
    },
];

/// Where guests come from: peers, tools of tests, and what systemd needs to give
/// a user a session.
const PACKAGES: [&str; 40] = [
    "aardvark-dns",
    "apparmor",
    "buildah",
    "busybox-static",
    "ca-certificates",
    "catatonit",
    "conmon",
    "containerd",
    "containernetworking-plugins",
    "criu",
    "crun",
    "dbus",
    "dbus-user-session",
    "docker.io",
    "erofs-utils",
    "fuse-overlayfs",
    "golang-github-containers-common",
    "iproute2",
    "iptables",
    "kmod",
    "libpam-systemd",
    "linux-image-amd64",
    "netavark",
    "nftables",
    "nix-bin",
    "passt",
    "podman",
    "procps",
    "protobuf-compiler",
    "python3-grpcio",
    "runc",
    "skopeo",
    "slirp4netns",
    "strace",
    "systemd",
    "systemd-container",
    "systemd-sysv",
    "udev",
    "uidmap",
    "umoci",
];

/// All packages of a release: since trixie docker's command line is one of its own.
pub fn packages(suite: &str) -> String {
    let more = if suite == "bookworm" { "" } else { ",docker-cli" };
    PACKAGES.join(",") + more
}

pub fn find(name: &str) -> Result<&'static Guest> {
    GUESTS.iter().find(|guest| guest.name == name).ok_or_else(|| {
        let names: Vec<_> = GUESTS.iter().map(|guest| guest.name).collect();
        format!("no guest is called {name}: there are {}", names.join(", ")).into()
    })
}

/// The named guests, or all of them.
pub fn choose(names: &[&str]) -> Result<Vec<&'static Guest>> {
    if names.is_empty() {
        return Ok(GUESTS.iter().collect());
    }
    names.iter().map(|name| find(name)).collect()
}
