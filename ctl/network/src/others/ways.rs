//! Where a container's packets are forwarded.

use firn_network::message::{Network, Veth};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The host's interface by which an address of a container is reached.
pub fn link(network: &Network, address: IpAddr) -> Option<&str> {
    let has = |veth: &&Veth| veth.addresses.iter().any(|(own, _)| *own == address);
    network.veths.iter().find(has).map(|veth| veth.bridge.as_deref().unwrap_or(&veth.host.name))
}

/// The addresses whose packets are forwarded for rules of ours.
pub fn addresses(network: &Network) -> BTreeSet<IpAddr> {
    network.ports.iter().map(|port| port.address).chain(network.masquerade.iter().copied()).collect()
}
