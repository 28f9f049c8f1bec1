//! Ports of the host that are taken already, and by whom: found before a start.

use crate::generation::{self, Container};
use anyhow::{Result, bail};
use firn_network::message::{Network, Port, Proxy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const UNSPECIFIED: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
/// The process that passes on what comes to loopback addresses, by its name.
const RESIDENT: &str = "firn-network ";

/// A process that is ending keeps its sockets, and has none that can be seen.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that waits on the host.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Errors: a port that another container has, or a program of the host.
pub fn check(container: &Container, network: &Network) -> Result<()> {
    if network.ports.is_empty() && network.proxies.is_empty() {
        return Ok(());
    }
    for other in generation::all(container.places())? {
        // What runs has its network namespace kept.
        let runs = container.places().networks().join(&other.name).exists();
        if other.name == container.name || !runs {
            continue;
        }
        // One that is broken is told with its container.
        let theirs =
            std::fs::read(other.network_file()).ok().and_then(|text| serde_json::from_slice::<Network>(&text).ok());
        let Some(theirs) = theirs else { continue };
        if let Some(port) = network.ports.iter().find(|port| theirs.ports.iter().any(|other| is_same(port, other))) {
            bail!("forwardPorts: {} is taken by container {}", shown(port), other.name);
        }
        let is_crossed = |proxies: &[Proxy], ports: &[Port]| {
            proxies.iter().find(|proxy| ports.iter().any(|port| is_same_place(proxy, port))).cloned()
        };
        let crossed =
            is_crossed(&network.proxies, &theirs.ports).or_else(|| is_crossed(&theirs.proxies, &network.ports));
        if let Some(proxy) = crossed {
            bail!("forwardPorts: {}/{} is taken by container {}", proxy.listen, proxy.protocol, other.name);
        }
        let is_same = |one: &Proxy, other: &Proxy| one.protocol == other.protocol && one.listen == other.listen;
        if let Some(proxy) = network.proxies.iter().find(|own| theirs.proxies.iter().any(|other| is_same(own, other))) {
            bail!("forwardPorts: {}/{} is taken by container {}", proxy.listen, proxy.protocol, other.name);
        }
    }
    for _ in 0..TRIES {
        match taken(network) {
            None => return Ok(()),
            Some(Taken { what, owner: Some(owner), address }) => {
                bail!("forwardPorts: {what} is taken by {owner} of the host, which listens on {address}")
            }
            // Its process is ending, or can't be seen.
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
    match taken(network) {
        None => Ok(()),
        Some(Taken { what, address, .. }) => {
            bail!("forwardPorts: {what} is taken by a program of the host, which listens on {address}")
        }
    }
}

/// A port that a socket of the host has.
struct Taken {
    what: String,
    /// The program, where it is known.
    owner: Option<String>,
    address: IpAddr,
}

fn taken(network: &Network) -> Option<Taken> {
    ["tcp", "udp"].into_iter().find_map(|protocol| {
        let tables = [protocol.to_owned(), format!("{protocol}6")];
        let table = |name: &String| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        let listeners: Vec<Listener> = tables.iter().flat_map(|name| listeners(&table(name), protocol)).collect();
        let first = |what: String, is_in_the_way: &dyn Fn(&Listener) -> bool| {
            let in_the_way = listeners.iter().filter(|listener| is_in_the_way(listener));
            let others = in_the_way.map(|listener| (listener, find_owner(listener.inode)));
            let (listener, owner) = others.into_iter().find(|(_, owner)| is_other(owner.as_deref()))?;
            Some(Taken { what, owner, address: listener.address })
        };
        let ports = network.ports.iter().filter(|port| port.protocol == protocol);
        let proxies = network.proxies.iter().filter(|proxy| proxy.protocol == protocol);
        ports
            .map(|port| first(shown(port), &|listener| is_in_the_way(listener, port)))
            .chain(proxies.map(|proxy| {
                first(format!("{}/{protocol}", proxy.listen), &|listener| {
                    let any =
                        if proxy.listen.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(UNSPECIFIED) };
                    listener.port == proxy.listen.port() && [proxy.listen.ip(), any].contains(&listener.address)
                })
            }))
            .flatten()
            .next()
    })
}

/// Our own process's sockets are those of containers, which are compared as such.
fn is_other(owner: Option<&str>) -> bool {
    !owner.is_some_and(|owner| owner.starts_with(RESIDENT))
}

/// A rule leads away what comes to the address where a process listens. No rule has ::1.
fn is_same_place(proxy: &Proxy, port: &Port) -> bool {
    let is_address = port.host_address.is_none_or(|address| address == proxy.listen.ip());
    let is_family = proxy.listen.is_ipv4() && port.address.is_ipv4();
    is_family && is_address && port.host_port == proxy.listen.port() && port.protocol == proxy.protocol
}

/// One without an address has the port on every address of its family.
fn is_same(a: &Port, b: &Port) -> bool {
    let overlaps = a.host_address.is_none() || b.host_address.is_none() || a.host_address == b.host_address;
    a.host_port == b.host_port && a.protocol == b.protocol && overlaps && a.address.is_ipv4() == b.address.is_ipv4()
}

fn is_in_the_way(listener: &Listener, port: &Port) -> bool {
    let is_family = listener.address.is_ipv4() == port.address.is_ipv4();
    let overlaps =
        port.host_address.is_none_or(|address| listener.address.is_unspecified() || listener.address == address);
    // A socket of IPv6 without an address has the port of both families (ipv6(7), IPV6_V6ONLY).
    let is_both = listener.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    listener.port == port.host_port && (is_family || is_both) && overlaps
}

fn shown(port: &Port) -> String {
    match port.host_address {
        Some(IpAddr::V6(address)) => format!("[{address}]:{}/{}", port.host_port, port.protocol),
        Some(address) => format!("{address}:{}/{}", port.host_port, port.protocol),
        None => format!("{}/{}", port.host_port, port.protocol),
    }
}

/// Those of a table of proc(5), /proc/net/tcp: listening (state 0A), or without a peer (07).
fn listeners(table: &str, protocol: &str) -> Vec<Listener> {
    let waits = if protocol == "tcp" { "0A" } else { "07" };
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let inode = fields.get(9)?.parse().ok()?;
        let is_waiting = *fields.get(3)? == waits;
        let listener = Listener { address: address_of(address)?, port: u16::from_str_radix(port, 16).ok()?, inode };
        is_waiting.then_some(listener)
    };
    table.lines().skip(1).filter_map(parse).collect()
}

/// Words of four bytes as the machine has them.
fn address_of(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..text.len() / 8)
        .map(|index| u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    match words.concat().as_slice() {
        [a, b, c, d] => Some(Ipv4Addr::new(*a, *b, *c, *d).into()),
        bytes => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
    }
}

/// The program that has a socket, as in `nginx (pid 12)`.
fn find_owner(inode: u64) -> Option<String> {
    let link = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let descriptors = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let has = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == &*link)
        };
        if descriptors.into_iter().any(has) {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (pid {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_wait_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 123 1 0 100 0\n\
             1: 0100007F:1F91 0100007F:1F92 01 00000000:00000000 00:00000000 00000000     0        0 124 1 0 100 0\n";
        let expected = Listener { address: Ipv4Addr::LOCALHOST.into(), port: 8080, inode: 123 };
        assert_eq!(listeners(table, "tcp"), [expected]);
        assert_eq!(address_of("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
    }
}
