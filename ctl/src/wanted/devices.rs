//! Device nodes that a container gets and may use.

use crate::definition::schema::Definition;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const TUN: &str = "/dev/net/tun";

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    node: String,
    kind: &'static str,
    major: u32,
    minor: u32,
    /// Permissions of the node.
    mode: u32,
    /// `rwm`.
    access: String,
}

/// Looks up the devices of a definition. Errors: the host has no such device, and it is not optional.
pub fn find(definition: &Definition) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for allowed in &definition.allowed_devices {
        match std::fs::metadata(&allowed.node) {
            Err(error) if error.kind() == ErrorKind::NotFound && allowed.optional => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("allowedDevices: the host has no {}: write optional = true to start without it", allowed.node)
            }
            result => {
                let meta = result.with_context(|| format!("allowedDevices: {}", allowed.node))?;
                devices.push(device(&allowed.node, &allowed.modifier, &meta)?);
            }
        }
    }
    if definition.enable_tun && !devices.iter().any(|device| device.node == TUN) {
        // misc, as in the kernel's devices.txt: there also where its module is not loaded yet.
        let access = "rwm".into();
        devices.push(Device { node: TUN.into(), kind: "c", major: 10, minor: 200, mode: 0o666, access });
    }
    Ok(devices)
}

fn device(node: &str, access: &str, meta: &std::fs::Metadata) -> Result<Device> {
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => bail!("allowedDevices: {node} is no device"),
    };
    let number = meta.rdev();
    Ok(Device {
        node: node.into(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: meta.mode() & 0o777,
        access: access.into(),
    })
}

impl Device {
    /// An entry of `linux.devices`.
    pub fn node(&self) -> Value {
        json!({"path": self.node, "type": self.kind, "major": self.major, "minor": self.minor, "fileMode": self.mode})
    }

    /// An entry of `linux.resources.devices`.
    pub fn rule(&self) -> Value {
        json!({"allow": true, "type": self.kind, "major": self.major, "minor": self.minor, "access": self.access})
    }
}
