//! Device nodes of the container's /dev.

use crate::bail;
use crate::error::Result;
use crate::path::InRoot;
use crate::spec::linux::Device;
use rustix::fs::FileType;
use std::collections::HashMap;

/// A device node to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub path: InRoot,
    pub kind: FileType,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// runtime-spec, config-linux.md, "Default Devices". /dev/console and /dev/ptmx are created by
/// other steps.
pub const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The default nodes, and those of config.json, which may replace defaults. Errors: a relative
/// path, an unknown type, a number out of range.
pub fn plan(devices: &[Device]) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = DEFAULTS
        .iter()
        .map(|(path, major, minor)| Node {
            path: InRoot::new(path),
            kind: FileType::CharacterDevice,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    let mut places: HashMap<InRoot, usize> = nodes.iter().map(|node| node.path.clone()).zip(0..).collect();
    for device in devices {
        let node = node(device)?;
        // Always a symlink to the container's devpts, as under runc and crun; a node would be the
        // host's multiplexer.
        if node.path == InRoot::new("/dev/ptmx") {
            continue;
        }
        match places.get(&node.path) {
            Some(number) => nodes[*number] = node,
            None => {
                places.insert(node.path.clone(), nodes.len());
                nodes.push(node);
            }
        }
    }
    Ok(nodes)
}

fn node(device: &Device) -> Result<Node> {
    let path = &device.path;
    if !path.starts_with('/') || path.contains('\0') || InRoot::new(path).is_root() {
        bail!("linux.devices: path {path:?} must be absolute");
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => bail!("linux.devices: type {other:?} of {path:?} is not one of c, b, u, p"),
    };
    let (Ok(major), Ok(minor)) = (u32::try_from(device.major), u32::try_from(device.minor)) else {
        bail!("linux.devices: {path:?} has the number {}:{}", device.major, device.minor);
    };
    Ok(Node {
        path: InRoot::new(path),
        kind,
        major,
        minor,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_of_the_config_replaces_the_default() {
        let null = Device { path: "/dev//null".into(), kind: "c".into(), major: 1, minor: 5, ..Device::default() };
        let nodes = plan(&[null]).unwrap();
        assert_eq!(nodes.len(), DEFAULTS.len());
        assert_eq!(nodes[0].minor, 5);
    }

    #[test]
    fn the_multiplexer_of_terminals_is_passed_over() {
        let ptmx = Device { path: "/dev/ptmx".into(), kind: "c".into(), major: 5, minor: 2, ..Device::default() };
        assert_eq!(plan(&[ptmx]).unwrap().len(), DEFAULTS.len());
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |path: &str, kind: &str| {
            let device = Device { path: path.into(), kind: kind.into(), ..Device::default() };
            plan(&[device]).unwrap_err().chain()
        };
        assert_eq!(refused("dev/x", "c"), "linux.devices: path \"dev/x\" must be absolute");
        assert!(refused("/dev/x", "z").contains("is not one of c, b, u, p"));
    }
}
