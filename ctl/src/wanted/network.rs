//! The network of a container: what `firn-network` is told.

use crate::definition::schema::{Definition, ForwardPort, Link, Protocol};
use crate::definition::values::{self, Family};
use anyhow::{Result, anyhow, bail};
use firn_network::message::{DOMAIN, Interface, MAIN, Macvlan, Network, Port, Proxy, RESOLVER, VERSION, Veth};
use firn_network::names::{self, End};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// A name of an interface beside its main one has so many bytes at most (ALTIFNAMSIZ, linux/if.h).
const LONGEST_ALTERNATIVE: usize = 127;

/// What of the host a network depends on.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where the namespace is kept.
    pub pin: PathBuf,
    /// The nftables table.
    pub table: String,
    /// machine-id(5), from which MAC addresses are made; they are the kernel's choice without one.
    pub machine: Option<[u8; 16]>,
}

/// Whether the container has a network namespace of its own. Options that need one ask for it, as
/// systemd-nspawn's do.
pub fn is_private(definition: &Definition) -> bool {
    let Definition { private_network, extra, extra_veths, interfaces, macvlans, .. } = definition;
    *private_network
        || extra.address_prefix.is_some()
        || !extra_veths.is_empty()
        || !interfaces.is_empty()
        || !macvlans.is_empty()
}

/// The main link; `extra.addressPrefix` stands for its addresses.
pub fn main_link(definition: &Definition) -> Cow<'_, Link> {
    let Some(prefix) = &definition.extra.address_prefix else { return Cow::Borrowed(&definition.link) };
    let mut link = definition.link.clone();
    link.host_address = Some(format!("{prefix}.1"));
    link.local_address = Some(format!("{prefix}.2"));
    Cow::Owned(link)
}

/// What has to be made for a container; `None`: nothing.
pub fn of(name: &str, definition: &Definition, place: &Place) -> Result<Option<Network>> {
    if !is_private(definition) {
        return Ok(None);
    }
    let link = main_link(definition);
    let mut ports = ports(&link)?;
    let mut proxies = proxies(&link)?;
    let mut veths: Vec<Veth> = main_veth(name, &link, place, &ports)?.into_iter().collect();
    for (index, (inside, extra)) in (0_u64..).zip(&definition.extra_veths) {
        let own = self::ports(&extra.link)?;
        let mac = |end| place.machine.map(|machine| names::mac(machine, name, end, index).0);
        let host = Interface {
            name: extra.host_interface.as_ref().unwrap_or(inside).clone(),
            alternative: None,
            mac: mac(End::ExtraHost),
        };
        let inside = Interface { name: inside.clone(), alternative: None, mac: mac(End::ExtraContainer) };
        veths.push(Veth { gateways: Vec::new(), ..veth(host, inside, &extra.link, &own)? });
        proxies.extend(self::proxies(&extra.link)?);
        ports.extend(own);
    }
    let macvlans = (0_u64..).zip(&definition.macvlans).map(|(index, parent)| Macvlan {
        parent: parent.clone(),
        inside: named(&format!("mv-{parent}"), place.machine.map(|id| names::mac(id, name, End::Macvlan, index).0)),
    });
    // As with an internal network of Docker (CVE-2024-29018).
    let forwards = veths.iter().any(|veth| veth.bridge.is_some() || !veth.gateways.is_empty())
        || !definition.macvlans.is_empty()
        || !definition.interfaces.is_empty();
    let masquerade = if definition.extra.enable_wan { local_addresses(&link)? } else { Vec::new() };
    let network = Network {
        version: VERSION,
        container: name.to_owned(),
        pin: place.pin.clone(),
        table: place.table.clone(),
        veths,
        macvlans: macvlans.collect(),
        interfaces: definition.interfaces.clone(),
        ports,
        proxies,
        resolver: definition.copy_resolv_conf.0,
        forwards,
        masquerade: masquerade.into_iter().map(|(address, _)| address).collect(),
        exposes_localhost: if definition.extra.expose_localhost { local_address4(&link)? } else { None },
        admits: if definition.extra.firewall_allow_host { host_addresses(&link)? } else { Vec::new() },
    };
    let is_empty = network.veths.is_empty() && network.macvlans.is_empty() && network.interfaces.is_empty();
    Ok((!is_empty).then_some(network))
}

/// Whether two definitions of a container have the same links, whatever their addresses.
pub fn has_same_links(old: &Definition, new: &Definition) -> bool {
    let place = Place { pin: PathBuf::new(), table: String::new(), machine: None };
    // A container's name is part of its links' names alone.
    let (Ok(Some(old)), Ok(Some(new))) = (of("", old, &place), of("", new, &place)) else { return false };
    let same = |old: &Veth, new: &Veth| (&old.host, &old.inside, &old.bridge) == (&new.host, &new.inside, &new.bridge);
    old.admits == new.admits
        && old.veths.len() == new.veths.len()
        && old.veths.iter().zip(&new.veths).all(|(old, new)| same(old, new))
}

/// There is one as soon as one of its options is given.
fn main_veth(name: &str, link: &Link, place: &Place, ports: &[Port]) -> Result<Option<Veth>> {
    let with_ports_alone = Link { forward_ports: link.forward_ports.clone(), ..Link::default() };
    if *link == with_ports_alone {
        return Ok(None);
    }
    let mac = |end| place.machine.map(|machine| names::mac(machine, name, end, 0).0);
    let prefix = if link.host_bridge.is_some() { "vb" } else { "ve" };
    let host = named(&format!("{prefix}-{name}"), mac(End::Host));
    let given = link.local_mac_address.as_deref().map(|text| values::mac(text).map_err(|text| anyhow!(text)));
    // What systemd-networkd in the container configures by DHCP, where nobody has done it here.
    let is_open = link.local_address.is_none() && link.local_address6.is_none();
    let inside = Interface {
        name: MAIN.into(),
        alternative: is_open.then(|| "host0".into()),
        mac: given.transpose()?.or_else(|| mac(End::Container)),
    };
    veth(host, inside, link, ports).map(Some)
}

/// An interface with its name as it fits, and the whole one beside it.
fn named(full: &str, mac: Option<[u8; 6]>) -> Interface {
    let name = names::interface(full);
    let alternative = (name != full && full.len() <= LONGEST_ALTERNATIVE).then(|| full.to_owned());
    Interface { name, alternative, mac }
}

fn veth(host: Interface, inside: Interface, link: &Link, ports: &[Port]) -> Result<Veth> {
    let addresses = local_addresses(link)?;
    let on_host = host_addresses(link)?;
    // Without an address of that family there is nobody to reach it.
    let has_family = |peer: &IpAddr| addresses.iter().any(|(own, _)| own.is_ipv4() == peer.is_ipv4());
    let peers: Vec<IpAddr> = on_host.iter().copied().filter(has_family).collect();
    let has_port = ports.iter().any(|port| port.address.is_ipv4());
    Ok(Veth {
        host,
        inside,
        bridge: link.host_bridge.clone(),
        // With a bridge it is the gateway's address, which the host or another machine has.
        host_addresses: if link.host_bridge.is_some() { Vec::new() } else { on_host },
        addresses,
        gateways: peers.clone(),
        peers,
        reaches_localhost: link.host_bridge.is_none() && has_port,
    })
}

/// The host's, or the gateway's.
fn host_addresses(link: &Link) -> Result<Vec<IpAddr>> {
    let texts = [(&link.host_address, Family::V4), (&link.host_address6, Family::V6)];
    let given = texts.into_iter().filter_map(|(text, family)| Some(values::address(text.as_deref()?, family)));
    given.collect::<Result<_, String>>().map_err(|text| anyhow!(text))
}

fn local_address4(link: &Link) -> Result<Option<Ipv4Addr>> {
    let v4 = |(address, _)| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    Ok(local_addresses(link)?.into_iter().find_map(v4))
}

/// With the lengths of their prefixes.
fn local_addresses(link: &Link) -> Result<Vec<(IpAddr, u8)>> {
    let texts = [(&link.local_address, Family::V4), (&link.local_address6, Family::V6)];
    let given = texts.into_iter().filter_map(|(text, family)| Some(values::network(text.as_deref()?, family)));
    let whole = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let parsed = given.map(|network| network.map(|it| (it.address, it.prefix.unwrap_or(whole(it.address)))));
    parsed.collect::<Result<_, String>>().map_err(|text| anyhow!(text))
}

/// A port leads to the address of its family; one of no address, to both.
fn ports(link: &Link) -> Result<Vec<Port>> {
    let addresses = local_addresses(link)?;
    if addresses.is_empty() && !link.forward_ports.is_empty() {
        bail!("forwardPorts: the container has no localAddress yet to which they could lead: give it one");
    }
    let mut ports: Vec<Port> = Vec::new();
    for forwarded in &link.forward_ports {
        let host =
            forwarded.host_address.as_deref().map(values::any_address).transpose().map_err(|text| anyhow!(text))?;
        let leads_to =
            addresses.iter().filter(|(address, _)| host.is_none_or(|host| host.is_ipv4() == address.is_ipv4()));
        if host.is_some_and(|host| is_proxied(host, link)) {
            continue;
        }
        let before = ports.len();
        ports.extend(leads_to.map(|(address, _)| port(forwarded, host, *address)));
        if ports.len() == before {
            bail!(
                "forwardPorts: the container has no address of the family of {}",
                forwarded.host_address.as_deref().unwrap_or_default()
            );
        }
    }
    Ok(ports)
}

/// Addresses of the host that can't be the source of what leaves it: ::1 never, 127.0.0.1 only over a link of
/// the container's own.
fn is_proxied(host: IpAddr, link: &Link) -> bool {
    host.is_loopback() && (host.is_ipv6() || link.host_bridge.is_some())
}

/// What comes to such addresses a process passes on, to the container's address of either family.
fn proxies(link: &Link) -> Result<Vec<Proxy>> {
    let addresses = local_addresses(link)?;
    let mut proxies: Vec<Proxy> = Vec::new();
    for forwarded in &link.forward_ports {
        let given =
            forwarded.host_address.as_deref().map(values::any_address).transpose().map_err(|text| anyhow!(text))?;
        let all = [IpAddr::V6(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()];
        let meant: Vec<IpAddr> = match given {
            None => all.to_vec(),
            Some(given) if given.is_unspecified() => {
                all.into_iter().filter(|address| address.is_ipv4() == given.is_ipv4()).collect()
            }
            Some(given) => vec![given],
        };
        let meant: Vec<IpAddr> = meant.into_iter().filter(|address| is_proxied(*address, link)).collect();
        if forwarded.protocol == Protocol::Sctp {
            if let Some(given) = given.filter(|given| meant.contains(given)) {
                bail!("forwardPorts: SCTP of {given} can't lead into the container: leave hostAddress out");
            }
            continue;
        }
        for address in meant {
            let same = addresses.iter().find(|(inside, _)| inside.is_ipv4() == address.is_ipv4());
            let Some((inside, _)) = same.or(addresses.first()) else { continue };
            let proxy = Proxy {
                protocol: format!("{:?}", forwarded.protocol).to_lowercase(),
                listen: SocketAddr::new(address, forwarded.host_port),
                target: SocketAddr::new(*inside, forwarded.container_port.unwrap_or(forwarded.host_port)),
            };
            let is_there = |other: &&Proxy| other.protocol == proxy.protocol && other.listen == proxy.listen;
            match proxies.iter().find(is_there) {
                Some(other) if *other != proxy => {
                    bail!("forwardPorts: {}/{} would lead to two ports", proxy.listen, proxy.protocol)
                }
                Some(_) => {}
                None => proxies.push(proxy),
            }
        }
    }
    Ok(proxies)
}

fn port(forwarded: &ForwardPort, host: Option<IpAddr>, address: IpAddr) -> Port {
    Port {
        protocol: format!("{:?}", forwarded.protocol).to_lowercase(),
        // 0.0.0.0 and :: are all of the family.
        host_address: host.filter(|host| !host.is_unspecified()),
        host_port: forwarded.host_port,
        address,
        port: forwarded.container_port.unwrap_or(forwarded.host_port),
    }
}

/// The resolv.conf of a container with a resolver: the host's, with that one server. Of firn's own, names without a dot
/// may be containers'.
pub fn resolv_conf(host: &str, resolver: Ipv4Addr) -> String {
    let own: &[&str] = if resolver == RESOLVER { &[DOMAIN] } else { &[] };
    let mut search = own.to_vec();
    let mut options = String::new();
    for line in host.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            // The last one counts (resolv.conf(5)).
            Some("search" | "domain") => {
                search = own.to_vec();
                search.extend(words.filter(|domain| *domain != "."));
            }
            Some("options") => options += &format!("{}\n", line.trim()),
            _ => {}
        }
    }
    let search = if search.is_empty() { String::new() } else { format!("search {}\n", search.join(" ")) };
    format!("nameserver {resolver}\n{search}{options}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_network::message::USER_RESOLVER;
    use serde_json::{Value, json};

    fn network(definition: Value) -> Option<Network> {
        let place = Place { pin: "/run/pin".into(), table: "firn".into(), machine: Some([1; 16]) };
        of("web", &serde_json::from_value(definition).unwrap(), &place).unwrap()
    }

    #[test]
    fn a_link_comes_with_an_option_of_its_own() {
        assert_eq!(network(json!({})), None);
        assert_eq!(network(json!({"privateNetwork": true})), None);
        let made = network(json!({"privateNetwork": true, "localMacAddress": "02:00:00:00:00:01"})).unwrap();
        assert_eq!(made.veths[0].inside.mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(made.veths[0].inside.alternative.as_deref(), Some("host0"));
        let made = network(json!({"extraVeths": {"x1": {"hostInterface": "x2"}}})).unwrap();
        assert_eq!((made.veths[0].host.name.as_str(), made.veths[0].inside.name.as_str()), ("x2", "x1"));
    }

    #[test]
    fn addresses_have_a_way_to_the_host() {
        let both = json!({"extra": {"addressPrefix": "10.1.1", "enableWAN": true}, "hostAddress6": "fc00::1"});
        let made = network(both).unwrap();
        let veth = &made.veths[0];
        assert_eq!(veth.addresses, [("10.1.1.2".parse().unwrap(), 32)]);
        assert_eq!(veth.host_addresses, ["10.1.1.1".parse::<IpAddr>().unwrap(), "fc00::1".parse().unwrap()]);
        assert_eq!(veth.gateways, ["10.1.1.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(made.masquerade, ["10.1.1.2".parse::<IpAddr>().unwrap()]);
        let bridged = json!({"privateNetwork": true, "hostBridge": "br0", "hostAddress": "10.1.1.1", "localAddress": "10.1.1.2/24"});
        let veth = &network(bridged).unwrap().veths[0];
        assert!(veth.host_addresses.is_empty() && veth.host.name == "vb-web");
        assert_eq!(veth.gateways, ["10.1.1.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(veth.addresses[0].1, 24);
    }

    #[test]
    fn a_port_leads_to_each_address_of_its_family() {
        let made = network(json!({
            "privateNetwork": true, "localAddress": "10.1.1.2", "localAddress6": "fc00::2/64",
            "forwardPorts": [
                {"hostPort": 80}, {"hostPort": 53, "protocol": "udp", "containerPort": 5353, "hostAddress": "0.0.0.0"},
            ],
        }));
        let ports: Vec<String> = made
            .unwrap()
            .ports
            .iter()
            .map(|port| {
                format!("{} {:?} {} {}:{}", port.protocol, port.host_address, port.host_port, port.address, port.port)
            })
            .collect();
        assert_eq!(ports, ["tcp None 80 10.1.1.2:80", "tcp None 80 fc00::2:80", "udp None 53 10.1.1.2:5353"]);
    }

    #[test]
    fn a_container_asks_one_server() {
        let host = "# comment\ndomain old\nsearch a.example b\nnameserver 192.0.2.53\noptions edns0 trust-ad\n";
        let expected = "nameserver 127.0.0.11\nsearch containers a.example b\noptions edns0 trust-ad\n";
        assert_eq!(resolv_conf(host, RESOLVER), expected);
        assert_eq!(resolv_conf("", RESOLVER), "nameserver 127.0.0.11\nsearch containers\n");
        let expected = "nameserver 10.0.2.3\nsearch a.example b\noptions edns0 trust-ad\n";
        assert_eq!(resolv_conf(host, USER_RESOLVER), expected);
    }

    #[test]
    fn loopback_addresses_have_a_process() {
        let proxies = |definition: Value| -> Vec<String> {
            let all = network(definition).unwrap().proxies;
            all.iter().map(|proxy| format!("{} {} {}", proxy.protocol, proxy.listen, proxy.target)).collect()
        };
        let ports = json!([{"hostPort": 80}, {"hostPort": 53, "protocol": "udp", "hostAddress": "192.0.2.1"}]);
        let link = json!({"privateNetwork": true, "localAddress": "10.1.1.2", "forwardPorts": ports});
        assert_eq!(proxies(link), ["tcp [::1]:80 10.1.1.2:80"]);
        let ports = json!([{"hostPort": 80, "containerPort": 81}, {"hostPort": 5, "protocol": "sctp"}]);
        let link = json!({"localAddress": "10.1.1.2", "localAddress6": "fc00::2", "hostBridge": "b", "forwardPorts": ports, "privateNetwork": true});
        assert_eq!(proxies(link), ["tcp [::1]:80 [fc00::2]:81", "tcp 127.0.0.1:80 10.1.1.2:81"]);
        let ports = json!([{"hostPort": 80, "hostAddress": "::1"}]);
        let link = json!({"privateNetwork": true, "localAddress": "10.1.1.2", "forwardPorts": ports});
        let made = network(link.clone()).unwrap();
        assert!(made.ports.is_empty() && made.proxies.len() == 1 && !made.forwards, "{made:?}");
        // 0.0.0.0 and :: are each of one family.
        let ports = json!([{"hostPort": 80, "hostAddress": "0.0.0.0"}, {"hostPort": 80, "containerPort": 81, "hostAddress": "::"}]);
        let link = json!({"extra": {"addressPrefix": "10.1.1"}, "localAddress6": "fc00::2", "forwardPorts": ports});
        assert_eq!(proxies(link), ["tcp [::1]:80 [fc00::2]:81"]);
        let ports = json!([{"hostPort": 80, "hostAddress": "127.0.0.2"}]);
        let link =
            json!({"privateNetwork": true, "localAddress": "10.1.1.2", "hostBridge": "b", "forwardPorts": ports});
        assert_eq!(proxies(link), ["tcp 127.0.0.2:80 10.1.1.2:80"]);
    }
}
