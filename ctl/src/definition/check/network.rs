//! Addresses, links and ports, and which of these options need which.

use super::report::Container;
use crate::definition::document::Step;
use crate::definition::schema::{Definition, ForwardPort, Link};
use crate::definition::values::{self, Family};
use crate::host::Owner;

pub fn check(definition: &Definition, owner: Owner, container: &mut Container<'_>) {
    let Definition { link: main, extra, extra_veths, .. } = definition;
    check_link(main, container);
    for (name, veth) in extra_veths {
        let mut within = container.within("extraVeths", Step::Name(name.clone()));
        within.keep("", values::interface(name));
        if let Some(host) = &veth.host_interface {
            within.keep("hostInterface", values::interface(host));
        }
        check_link(&veth.link, &mut within);
        check_ports(&veth.link, &mut within);
    }
    for (option, names) in [("interfaces", &definition.interfaces), ("macvlans", &definition.macvlans)] {
        for (index, name) in names.iter().enumerate() {
            let mut within = container.within(option, Step::Index(index));
            within.keep("", values::interface(name));
            if name == "lo" {
                within.tell("", "lo is each network namespace's own");
            }
            if option == "interfaces" && (extra_veths.contains_key(name) || name == "eth0" && has_main_link(definition))
            {
                within
                    .tell("", format!("{name} is the name of a link that is made in the container: it can't move in"));
            }
        }
    }
    if extra.address_prefix.is_some() {
        check_prefix(definition, container);
    } else if definition.private_network {
        // An ordinary user's container has its address from pasta or slirp4netns.
        if owner == Owner::Root {
            check_ports(main, container);
        }
    } else {
        // All others are told of an ordinary user's container for themselves.
        for option in set_options(main).filter(|option| owner == Owner::Root || *option == "forwardPorts") {
            container.tell(option, "needs privateNetwork = true: without it the container has the host's network");
        }
    }
    check_namespace(definition, container);
    check_extra(definition, container);
}

fn check_link(link: &Link, container: &mut Container<'_>) {
    let texts = [
        ("hostAddress", &link.host_address, Family::V4, false),
        ("hostAddress6", &link.host_address6, Family::V6, false),
        ("localAddress", &link.local_address, Family::V4, true),
        ("localAddress6", &link.local_address6, Family::V6, true),
    ];
    let mut addresses = Vec::new();
    for (option, text, family, may_have_prefix) in texts {
        let Some(text) = text else { continue };
        let parsed = match may_have_prefix {
            true => values::network(text, family).map(|network| network.address),
            false => values::address(text, family),
        };
        if let Some(address) = container.keep(option, parsed) {
            if let Some((other, _)) = addresses.iter().find(|(_, known)| *known == address) {
                container.tell(option, format!("{address} is {other} too: both ends of a link need their own"));
            }
            addresses.push((option, address));
        }
    }
    if let Some(bridge) = &link.host_bridge {
        container.keep("hostBridge", values::interface(bridge));
    }
    if let Some(mac) = &link.local_mac_address {
        container.keep("localMacAddress", values::mac(mac));
    }
    for (index, port) in link.forward_ports.iter().enumerate() {
        if let Some(address) = &port.host_address {
            container.within("forwardPorts", Step::Index(index)).keep("hostAddress", values::any_address(address));
        }
        let is_same = |other: &ForwardPort| {
            (other.protocol, other.host_port, &other.host_address)
                == (port.protocol, port.host_port, &port.host_address)
        };
        if link.forward_ports[..index].iter().any(is_same) {
            let message = format!("{} is forwarded already", shown(port));
            container.within("forwardPorts", Step::Index(index)).tell("", message);
        }
    }
}

/// A port leads to an address.
fn check_ports(link: &Link, container: &mut Container<'_>) {
    let has_address = link.local_address.is_some() || link.local_address6.is_some() || link.host_bridge.is_some();
    if !link.forward_ports.is_empty() && !has_address {
        container
            .tell("forwardPorts", "needs localAddress, localAddress6 or hostBridge, to have an address to lead to");
    }
}

fn has_main_link(definition: &Definition) -> bool {
    let is_of_link = |option: &str| option != "forwardPorts";
    definition.extra.address_prefix.is_some() || set_options(&definition.link).any(is_of_link)
}

/// The options of the main link that are set.
pub fn set_options(link: &Link) -> impl Iterator<Item = &'static str> {
    [
        ("hostAddress", link.host_address.is_some()),
        ("hostAddress6", link.host_address6.is_some()),
        ("localAddress", link.local_address.is_some()),
        ("localAddress6", link.local_address6.is_some()),
        ("hostBridge", link.host_bridge.is_some()),
        ("localMacAddress", link.local_mac_address.is_some()),
        ("forwardPorts", !link.forward_ports.is_empty()),
    ]
    .into_iter()
    .filter_map(|(option, is_set)| is_set.then_some(option))
}

/// extra.addressPrefix stands for the two addresses and privateNetwork.
fn check_prefix(definition: &Definition, container: &mut Container<'_>) {
    let Some(prefix) = &definition.extra.address_prefix else { return };
    container.keep("extra.addressPrefix", values::prefix24(prefix));
    for option in set_options(&definition.link).filter(|option| ["hostAddress", "localAddress"].contains(option)) {
        container.tell(option, "extra.addressPrefix sets it already: give one of the two");
    }
}

fn check_namespace(definition: &Definition, container: &mut Container<'_>) {
    if definition.network_namespace.is_none() {
        return;
    }
    let others = [
        ("privateNetwork", definition.private_network || definition.extra.address_prefix.is_some()),
        ("interfaces", !definition.interfaces.is_empty()),
        ("macvlans", !definition.macvlans.is_empty()),
        ("extraVeths", !definition.extra_veths.is_empty()),
    ];
    for (option, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
        container.tell("networkNamespace", format!("{option} is set too: a namespace that is joined stays as it is"));
    }
}

fn check_extra(definition: &Definition, container: &mut Container<'_>) {
    let Definition { extra, link, .. } = definition;
    let has_prefix = extra.address_prefix.is_some();
    let has_local4 = has_prefix || link.local_address.is_some();
    let has_local = has_local4 || link.local_address6.is_some();
    let has_host = has_prefix || link.host_address.is_some() || link.host_address6.is_some();
    for (option, is_set, needs, has) in [
        ("extra.enableWAN", extra.enable_wan, "localAddress", has_local),
        ("extra.exposeLocalhost", extra.expose_localhost, "localAddress", has_local4),
        ("extra.firewallAllowHost", extra.firewall_allow_host, "hostAddress", has_host),
    ] {
        if is_set && !has {
            container.tell(option, format!("needs {needs}, or extra.addressPrefix"));
        }
    }
}

/// As in `8080/tcp` or `10.0.0.1:8080/tcp`.
pub(super) fn shown(port: &ForwardPort) -> String {
    let protocol = format!("{:?}", port.protocol).to_lowercase();
    match &port.host_address {
        Some(address) if address.contains(':') => format!("[{address}]:{}/{protocol}", port.host_port),
        Some(address) => format!("{address}:{}/{protocol}", port.host_port),
        None => format!("{}/{protocol}", port.host_port),
    }
}
