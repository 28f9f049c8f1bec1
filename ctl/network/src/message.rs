//! What the process that makes networks is told: one message, a file beside the bundle.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The version of the message.
pub const VERSION: u32 = 1;
/// The main link, inside.
pub const MAIN: &str = "eth0";
/// Where a container asks for names, in its own network namespace, as with Docker.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The domain of containers.
pub const DOMAIN: &str = "containers";

/// When the network of a start was made: a file beside the message.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Times {
    pub began: SystemTime,
    pub ended: SystemTime,
}

/// The file of [`Times`].
pub fn times_file(message: &Path) -> PathBuf {
    message.with_extension("times")
}

/// The network of one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    pub version: u32,
    /// The container's name.
    pub container: String,
    /// Where its network namespace is kept, so that interfaces can be taken back before it goes. The
    /// directory has those of all containers that share `table`.
    pub pin: PathBuf,
    /// The nftables table, of family inet.
    pub table: String,
    /// veth pairs; the main one is the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub veths: Vec<Veth>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macvlans: Vec<Macvlan>,
    /// Interfaces of the host that move in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Ports of the host's loopback addresses that no rule can lead into the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<Proxy>,
    /// Whether it asks for names at [`RESOLVER`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolver: bool,
    /// Whether other names than containers' are asked for: one without a way to other machines could tell them
    /// something by what it asks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwards: bool,
    /// Addresses inside that reach the outside by the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masquerade: Vec<IpAddr>,
    /// The address of the main link by which what listens on the container's 127.0.0.1 is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposes_localhost: Option<Ipv4Addr>,
    /// Addresses from which the container's firewall lets everything through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admits: Vec<IpAddr>,
}

/// The network of an ordinary user's container: another program makes it, which needs no rights on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserNetwork {
    pub version: u32,
    /// The container's name.
    pub container: String,
    pub helper: Helper,
    /// The program's path.
    pub program: PathBuf,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<UserPort>,
}

/// A program that makes such a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Helper {
    Pasta,
    Slirp4netns,
}

/// A port of the host on which such a program listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// On this address of the host; on all if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<IpAddr>,
    pub host_port: u16,
    pub port: u16,
}

/// Addresses in a [`UserNetwork`], those of slirp4netns(1): the container's, of /24, the host's end, and where names are
/// asked for.
pub const USER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
pub const USER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const USER_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Veth {
    pub host: Interface,
    pub inside: Interface,
    /// The bridge that the host's end joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Of the host's end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_addresses: Vec<IpAddr>,
    /// Of the end inside, with the length of the prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<(IpAddr, u8)>,
    /// What the container reaches over this link without a prefix of `addresses`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<IpAddr>,
    /// Those of `peers` by which it reaches all else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// The host's 127.0.0.1 may be the source of what goes over it.
    #[serde(default)]
    pub reaches_localhost: bool,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    pub name: String,
    /// Another name of it (ip-link(8), altname).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
    /// The kernel's choice where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<[u8; 6]>,
}

/// A macvlan of an interface of the host, in mode bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Macvlan {
    pub parent: String,
    pub inside: Interface,
}

/// A port of the host that leads into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On this address of the host; on each of the family if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<IpAddr>,
    pub host_port: u16,
    pub address: IpAddr,
    pub port: u16,
}

/// A port on which a process of the host's listens, that passes on to the container what comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    /// `tcp` or `udp`.
    pub protocol: String,
    pub listen: SocketAddr,
    pub target: SocketAddr,
}

impl Network {
    /// The addresses that its name has: those of the main link.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let main = self.veths.iter().find(|veth| veth.inside.name == MAIN);
        main.into_iter().flat_map(|veth| &veth.addresses).map(|(address, _)| *address)
    }
}
