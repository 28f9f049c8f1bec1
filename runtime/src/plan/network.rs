//! `linux.netDevices`: network devices to move into the container.

use super::namespaces::Namespaces;
use crate::bail;
use crate::error::Result;
use crate::host::Host;
use crate::spec::linux::NetDevice as Spec;
use crate::sys::clone;
use std::collections::BTreeMap;

/// A network device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    pub name: String,
    /// Name in the container; the kernel replaces `%d` by a number.
    pub inside: String,
}

/// Errors: no network namespace; an unprivileged caller; a name that the kernel does not allow.
pub fn plan(devices: &BTreeMap<String, Spec>, namespaces: &Namespaces, host: &Host) -> Result<Vec<NetDevice>> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    if !namespaces.has(clone::NEWNET) {
        bail!("linux.netDevices needs a \"network\" namespace to move devices into");
    }
    if host.is_rootless() {
        bail!("linux.netDevices: an unprivileged user can't move network devices of the host");
    }
    let device = |(name, spec): (&String, &Spec)| {
        let inside = if spec.name.is_empty() { name } else { &spec.name };
        for name in [name, inside] {
            if !is_name(name) {
                bail!("linux.netDevices: {name:?} can't be the name of a network device");
            }
        }
        if name.contains('%') {
            bail!("linux.netDevices: {name:?} must be one device of the host's, and so without %");
        }
        Ok(NetDevice { name: name.clone(), inside: inside.clone() })
    };
    devices.iter().map(device).collect()
}

/// dev_valid_name of the kernel (net/core/dev.c).
fn is_name(name: &str) -> bool {
    const SIZE: usize = 16;
    let bad = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    !name.is_empty() && name.len() < SIZE && name != "." && name != ".." && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        for good in ["eth0", "a", "eth%d", "fifteen.letters"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen..letters", "a\0"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_host_has_its_devices_to_itself() {
        let devices = BTreeMap::from([("eth0".to_owned(), Spec::default())]);
        let own = Namespaces { new: clone::NEWNET, ..Namespaces::default() };
        assert_eq!(
            plan(&devices, &own, &Host::root()).unwrap(),
            [NetDevice { name: "eth0".into(), inside: "eth0".into() }]
        );
        assert!(plan(&devices, &Namespaces::default(), &Host::root()).is_err());
        assert!(plan(&devices, &own, &Host::unprivileged()).is_err());
    }
}
