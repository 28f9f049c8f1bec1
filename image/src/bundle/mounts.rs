//! What is mounted in the container, and what of /proc is kept from it.

use super::init::{INSIDE, Init};
use super::{Plan, names};
use crate::source::nix::store_path::LOGICAL_STORE;
use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};

/// Reading these tells of the host or its other containers; the last two let
/// the host's power draw and tables be read (CVE-2020-8694 and the like).
pub const MASKED: &[&str] = &[
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

/// Writing these reaches the whole machine.
pub const READONLY: &[&str] = &[
    "/proc/acpi",
    "/proc/apm",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/scsi",
    // With /proc/sys/net, although that belongs to the container's own network
    // namespace: a list of read-only paths can't say "all but". Settings of it
    // go into linux.sysctl.
    "/proc/sys",
];

/// Destination, type, options; in the order of mounting.
const API: &[(&str, &str, &[&str])] = &[
    ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
    // Read-only is what tells systemd to leave udev alone.
    ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
    ("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
];

/// All mounts of the container.
pub fn mounts(plan: &Plan) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = Vec::new();
    for (destination, kind, options) in API {
        // As its root, and for the same reason.
        let shared: &[&str] = if *destination == "/run" && plan.init.boots() { &["shared"] } else { &[] };
        mounts.push(mount(destination, kind, kind, &[*options, shared].concat())?);
    }
    // An init runs its services in groups of its own; a command needs none.
    let access = if plan.init.boots() { "rw" } else { "ro" };
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)?);

    let host = |name: &str| (format!("{}/{name}", names::HOST), format!("/run/host/{name}"));
    if plan.copy && plan.closure.is_some() {
        // NixOS's stage 2 expects it read-only already.
        mounts.push(bind(plan, names::STORE, LOGICAL_STORE, &[])?);
    }
    let mut files = vec![host(names::MANAGER), host(names::UUID)];
    if plan.os_release.is_some() {
        files.push(host(names::OS_RELEASE));
    }
    for (file, destination) in files {
        mounts.push(bind(plan, &file, &destination, &["noexec"])?);
    }
    if let Init::Firn { .. } = plan.init {
        mounts.push(bind(plan, names::INIT, INSIDE, &[])?);
    }
    Ok(mounts)
}

/// A file of the bundle. Never one below `rootfs/`: that tree is the container's,
/// which could exchange a source for a link to anything of the host.
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
