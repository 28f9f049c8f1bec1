//! Other firewalls of the host: what they are asked for by their own interfaces, so that they let a container's
//! packets through, and which of their rules drop those all the same.

pub mod blocked;
mod docker;
mod firewalld;
mod ways;

use anyhow::Result;
use firn_network::message::Network;
use std::collections::BTreeSet;
use std::path::Path;

/// Has others let through what this network needs, and no longer what it needed.
pub fn admit(network: &Network, message: &Path) -> Result<()> {
    docker::set(&network.table, &network.container, &docker::rules(network))?;
    firewalld::set(message, &network.masquerade.iter().copied().collect())
}

/// Undoes that, also where only some of it is there.
pub fn forget(network: &Network, message: &Path) -> Result<()> {
    let docker = docker::set(&network.table, &network.container, &[]);
    firewalld::set(message, &BTreeSet::new()).and(docker)
}
