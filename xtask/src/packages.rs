//! What the tests need of Debian.

use crate::Result;
use crate::build::run;
use std::path::Path;
use std::process::Command;

/// Peers, and tools to make root file systems with; each is used as it comes.
pub const TESTS: &[&str] = &[
    "aardvark-dns",
    "bsdutils",
    "buildah",
    "busybox-static",
    "catatonit",
    "conmon",
    "containerd",
    "containernetworking-plugins",
    "crun",
    "dbus",
    "docker-registry",
    "firewalld",
    "git",
    "golang-github-containers-common",
    "iproute2",
    "iptables",
    "keyutils",
    "mmdebstrap",
    "netavark",
    "nftables",
    "nix-bin",
    "openssh-client",
    "openssh-server",
    "openssl",
    "passt",
    "podman",
    "procps",
    "protobuf-compiler",
    "python3-grpcio",
    "rsync",
    "runc",
    "skopeo",
    "slirp4netns",
    "sqlite3",
    "strace",
    "uidmap",
    "umoci",
    "util-linux",
    "xz-utils",
    "zstd",
    "ca-certificates",
];

/// Runtimes to measure, podman for its config, and mmdebstrap for newer ones.
pub const BENCH: [&str; 11] = [
    "aardvark-dns",
    "ca-certificates",
    "conmon",
    "crun",
    "golang-github-containers-common",
    "iproute2",
    "mmdebstrap",
    "netavark",
    "podman",
    "runc",
    "util-linux",
];

/// Programs that unpack images, the registry that has them, and mkfs.ext4.
pub const BENCH_IMAGE: [&str; 11] = [
    "buildah",
    "ca-certificates",
    "containerd",
    "docker-registry",
    "e2fsprogs",
    "golang-github-containers-common",
    "pigz",
    "podman",
    "skopeo",
    "umoci",
    "util-linux",
];

/// What guests are made with and run by.
pub const GUESTS: [&str; 7] =
    ["busybox-static", "e2fsprogs", "mmdebstrap", "qemu-system-x86", "util-linux", "xz-utils", "zstd"];

/// Installs what is missing, asking nothing.
pub fn install(needed: &[&str]) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        eprintln!("xtask: no apt-get here: the tests need {}", needed.join(", "));
        return Ok(());
    }
    let missing: Vec<&str> = needed.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    run(apt().arg("update"))?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet=2", "--option", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    apt.stdin(std::process::Stdio::null());
    apt
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.stdout == b"installed")
}
