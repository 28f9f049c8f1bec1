//! What an ordinary user's container can't have: it takes rights over the host's network or devices, or a service of
//! root's. All of it is told before anything starts.

use super::network::set_options;
use super::report::Container;
use crate::definition::document::Step;
use crate::definition::schema::{Definition, PrivateUsers, Protocol, UserNamespace};

/// Of links: they are made in the host's network namespace, with CAP_NET_ADMIN over it.
const LINK: &str = "needs root, since it changes the host's network: an ordinary user's container has the network of \
                    pasta or slirp4netns, by privateNetwork = true alone";

pub fn check(definition: &Definition, container: &mut Container<'_>) {
    let Definition { link, extra, .. } = definition;
    for option in set_options(link).filter(|option| *option != "forwardPorts") {
        container.tell(option, LINK);
    }
    for (option, is_set) in [
        ("extraVeths", !definition.extra_veths.is_empty()),
        ("interfaces", !definition.interfaces.is_empty()),
        ("macvlans", !definition.macvlans.is_empty()),
        ("extra.addressPrefix", extra.address_prefix.is_some()),
        ("extra.enableWAN", extra.enable_wan),
        ("extra.exposeLocalhost", extra.expose_localhost),
        ("extra.firewallAllowHost", extra.firewall_allow_host),
    ] {
        if is_set {
            container.tell(option, LINK);
        }
    }
    for (index, port) in link.forward_ports.iter().enumerate() {
        if port.protocol == Protocol::Sctp {
            let mut within = container.within("forwardPorts", Step::Index(index));
            within.tell("protocol", "needs root: pasta and slirp4netns forward tcp and udp");
        }
    }
    for (option, is_set, why) in [
        (
            "networkNamespace",
            definition.network_namespace.is_some(),
            "needs root: setns(2) takes CAP_SYS_ADMIN over the namespace",
        ),
        (
            "privateUsers",
            definition.private_users != PrivateUsers::Kind(UserNamespace::No),
            "needs root: an ordinary user's container has a user namespace with the user's own ids and those of \
             /etc/subuid and /etc/subgid: leave it out",
        ),
        ("sshKeys", !definition.ssh_keys.is_empty(), "needs root: the lines are of root's authorized_keys"),
        ("autoStart", definition.auto_start, "needs root: firnctl has no units of a user's systemd"),
    ] {
        if is_set {
            container.tell(option, why);
        }
    }
}
