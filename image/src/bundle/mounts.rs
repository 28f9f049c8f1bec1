//! The mounts, masked paths and read-only paths of config.json.

use super::init::{FIRN_INIT_PATH, Init};
use super::plan::{Plan, Volume, names};
use crate::source::nix::store_path::LOGICAL_STORE;
use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};

/// Masked: reading them gives information about the host or other containers; the last two about
/// its power consumption (CVE-2020-8694) and its firmware tables.
pub(super) const MASKED: &[&str] = &[
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Read-only: writing them has an effect on the host.
pub(super) const READONLY: &[&str] = &[
    "/proc/acpi",
    "/proc/apm",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/scsi",
    // This includes /proc/sys/net, which is of the container's own network namespace: a list of
    // read-only paths has no exceptions. linux.sysctl sets values there.
    "/proc/sys",
];

/// The API file systems: destination, type, options.
const API: &[(&str, &str, &[&str])] = &[
    ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
    // systemd does not start udev where /sys is read-only.
    ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
    ("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
];

/// Where a system puts sockets for the host (systemd's "The Container Interface"): its sshd's, since systemd
/// 256.
const UNIX_EXPORT: &str = "/run/host/unix-export";

/// The group of terminals, which devpts has as an option.
const TTY: u32 = 5;

/// Of [`API`], those that would hide an image's own.
const OF_SYSTEMS: &[&str] = &["/run", "/tmp"];

/// All mounts, in order.
pub(super) fn mounts(plan: &Plan) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = Vec::new();
    let is_shown = |destination: &str| plan.has_host_files() || !OF_SYSTEMS.contains(&destination);
    for (destination, kind, options) in API.iter().filter(|(destination, ..)| is_shown(destination)) {
        // As the root; see `linux` in config.rs.
        let shared: &[&str] = if *destination == "/run" && plan.init.boots() { &["shared"] } else { &[] };
        // A file system can't be given to a group that the container's user namespace does not have.
        let has_group = plan.id_maps.as_ref().is_none_or(|maps| {
            maps.gids.iter().any(|(inside, _, count)| TTY.checked_sub(*inside).is_some_and(|at| at < *count))
        });
        let options = options.iter().copied().filter(|option| has_group || !option.starts_with("gid="));
        mounts.push(mount(destination, kind, kind, &options.chain(shared.iter().copied()).collect::<Vec<_>>())?);
    }
    // An init makes cgroups for its services.
    let access = if plan.init.boots() { "rw" } else { "ro" };
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)?);

    let host = |name: &str| (format!("{}/{name}", names::HOST), format!("/run/host/{name}"));
    if plan.copy && plan.closure.is_some() {
        // Read-only, or NixOS's stage 2 tries to remount it.
        mounts.push(bind(plan, names::STORE, LOGICAL_STORE, &[])?);
    }
    let mut files = vec![host(names::MANAGER), host(names::UUID)];
    if plan.os_release.is_some() {
        files.push(host(names::OS_RELEASE));
    }
    if plan.has_inaccessible_files() {
        files.push(host(names::INACCESSIBLE));
    }
    for (file, destination) in files.into_iter().filter(|_| plan.has_host_files()) {
        mounts.push(bind(plan, &file, &destination, &["noexec"])?);
    }
    if plan.has_host_files() && plan.init.boots() {
        let options = ["nosuid", "nodev", "noexec", "mode=755", "size=64k", "nr_inodes=64"];
        mounts.push(mount(UNIX_EXPORT, "tmpfs", "tmpfs", &options)?);
    }
    for Volume { path, mode, uid, gid } in &plan.volumes {
        let owner = [format!("mode={mode:o}"), format!("uid={uid}"), format!("gid={gid}")];
        let options = ["nosuid", "nodev", "tmpcopyup"].into_iter().chain(owner.iter().map(String::as_str));
        mounts.push(mount(path, "tmpfs", "tmpfs", &options.collect::<Vec<_>>())?);
    }
    if let Init::Firn { .. } = plan.init {
        mounts.push(bind(plan, names::INIT, FIRN_INIT_PATH, &[])?);
    }
    Ok(mounts)
}

/// A read-only bind mount of the bundle's file `file`. Not of one below `rootfs/`: the container
/// could replace a source there by a symbolic link to a file of the host.
fn bind(plan: &Plan, file: &str, to: &str, more: &[&str]) -> Result<Mount, OciSpecError> {
    let options = [&["bind", "ro", "nosuid", "nodev"], more].concat();
    let mut mount = mount(to, "bind", "", &options)?;
    mount.set_source(Some(plan.file(file)));
    Ok(mount)
}

fn mount(to: &str, kind: &str, source: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(to)
        .typ(kind)
        .source(source)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()
}
