//! `firn features` (runtime-spec, features.md), from the tables that the runtime itself uses.

use super::context::print;
use crate::error::{Context, Result};
use crate::plan::{capabilities, mount_options, namespaces, process, scheduling};
use crate::seccomp;
use crate::spec;
use serde_json::json;

pub fn run() -> Result<u8> {
    let namespaces: Vec<&str> = namespaces::KINDS.iter().map(|(name, _)| *name).collect();
    let mount_options: Vec<&str> = mount_options::TABLE.iter().map(|(name, _)| *name).collect();
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": spec::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_options,
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities::names(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": seccomp::features(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "mountExtensions": { "idmap": { "enabled": true } },
            "memoryPolicy": { "modes": scheduling::MODES, "flags": scheduling::FLAGS.map(|(name, _)| name) },
            "netDevices": { "enabled": true },
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property.", process::KEEPS_GROUPS],
        "annotations": {
            "org.firn.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
    });
    let text = serde_json::to_string_pretty(&features).doing(|| "write the features")?;
    print(&(text + "\n"))?;
    Ok(0)
}
