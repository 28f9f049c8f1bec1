//! `firn spec`: writes a default config.json, the same as runc's.

use super::context::print;
use crate::bail;
use crate::error::{Context, Result};
use crate::host::Host;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write config.json to this directory
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    bundle: PathBuf,
    /// Write to this file instead; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// For an unprivileged user
    #[arg(long)]
    rootless: bool,
}

pub fn run(args: &Args) -> Result<u8> {
    let mut config = default(&Host::probe()?);
    if args.rootless {
        rootless(&mut config);
    }
    let text = serde_json::to_string_pretty(&config).doing(|| "write the config")? + "\n";
    let path = args.file.clone().unwrap_or_else(|| args.bundle.join("config.json"));
    if path.as_os_str() == "-" {
        print(&text)?;
        return Ok(0);
    }
    if path.exists() {
        bail!("file {} exists. Remove it first", path.display());
    }
    std::fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    Ok(0)
}

/// A shell with a terminal, in namespaces of its own, with few capabilities.
fn default(host: &Host) -> Value {
    // On a v1 host a cgroup namespace does not hide the other hierarchies' files.
    let of_cgroup = host.cgroups.pure_v2.then(|| json!({ "type": "cgroup" }));
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
    let namespaces: Vec<Value> = namespaces.into_iter().chain(of_cgroup).collect();
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": crate::spec::VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "firn",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
    ])
}

/// Changes the config for a user namespace with one id.
fn rootless(config: &mut Value) {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let linux = &mut config["linux"];
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    linux["resources"] = json!({});
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    let Some(mounts) = config["mounts"].as_array_mut() else { return };
    for mount in mounts {
        if mount["destination"] == "/sys" {
            // Mounting sysfs needs a network namespace of the same user namespace.
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                             "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
        } else if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}
