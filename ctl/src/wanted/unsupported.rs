//! Options that are understood, and that nothing does yet: a container that has one is not started,
//! rather than run without what was asked for.

use crate::definition::schema::{BindMount, Definition, Idmap};
use anyhow::{Result, bail};

/// Errors: an option of the definition that has no effect yet.
pub fn refuse(name: &str, definition: &Definition) -> Result<()> {
    let link = &definition.link;
    let extra = &definition.extra;
    let owners = |bind: &BindMount| matches!(bind.idmap, Some(Idmap::Rootidmap | Idmap::Owneridmap));
    let options = [
        ("hostAddress", link.host_address.is_some()),
        ("hostAddress6", link.host_address6.is_some()),
        ("localAddress", link.local_address.is_some()),
        ("localAddress6", link.local_address6.is_some()),
        ("hostBridge", link.host_bridge.is_some()),
        ("localMacAddress", link.local_mac_address.is_some()),
        ("forwardPorts", !link.forward_ports.is_empty()),
        ("extraVeths", !definition.extra_veths.is_empty()),
        ("interfaces", !definition.interfaces.is_empty()),
        ("macvlans", !definition.macvlans.is_empty()),
        ("extra.addressPrefix", extra.address_prefix.is_some()),
        ("extra.enableWAN", extra.enable_wan),
        ("extra.exposeLocalhost", extra.expose_localhost),
        ("extra.firewallAllowHost", extra.firewall_allow_host),
        ("bindMounts, idmap = rootidmap and owneridmap", definition.bind_mounts.values().any(owners)),
        ("sshKeys", !definition.ssh_keys.is_empty()),
        ("linkJournal", definition.link_journal),
    ];
    match options.into_iter().find(|(_, is_set)| *is_set) {
        Some((option, _)) => {
            bail!("container {name}: {option} has no effect yet, so the container is not started: leave it out")
        }
        None => Ok(()),
    }
}
