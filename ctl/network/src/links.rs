//! Links, addresses and routes over rtnetlink (rtnetlink(7)), in the host's namespace and the container's.

use crate::record::Moved;
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use firn_network::message::{Interface, Macvlan, Network, Veth};
use futures_util::TryStreamExt;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage, MacVlanMode};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Error, Handle, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The loopback interface is the first of a namespace.
const LOOPBACK: u32 = 1;

/// The two namespaces.
pub struct Links<'a> {
    pub host: Handle,
    pub inside: Handle,
    pub inside_namespace: BorrowedFd<'a>,
}

impl Links<'_> {
    /// Makes all links of a container. `record` hears of each interface before it moves, and after.
    pub async fn make(
        &self,
        network: &Network,
        settings: &mut Settings,
        mut record: impl FnMut(&Moved) -> Result<()>,
    ) -> Result<()> {
        up(&self.inside, LOOPBACK).await.context("set lo up")?;
        for veth in &network.veths {
            self.veth(&network.container, veth, settings).await.with_context(|| format!("link {}", veth.host.name))?;
        }
        for macvlan in &network.macvlans {
            let index = self.macvlan(macvlan).await.with_context(|| format!("macvlan of {}", macvlan.parent))?;
            record(&Moved { name: macvlan.inside.name.clone(), index: Some(index), is_made: true })?;
        }
        for name in &network.interfaces {
            let what = || format!("interface {name}");
            if index(&self.inside, name).await.with_context(what)?.is_some() {
                bail!("interface {name}: the container has one of this name already");
            }
            record(&Moved { name: name.clone(), index: None, is_made: false })?;
            record(&self.move_in(name).await.with_context(what)?)?;
        }
        Ok(())
    }

    async fn veth(&self, container: &str, veth: &Veth, settings: &mut Settings) -> Result<()> {
        let bridge = match &veth.bridge {
            Some(name) => Some(index(&self.host, name).await?.with_context(|| format!("there is no bridge {name}"))?),
            None => None,
        };
        let message = || {
            let peer = with_mac(LinkUnspec::new_with_name(&veth.inside.name), &veth.inside)
                .setns_by_fd(self.inside_namespace.as_raw_fd());
            let link = with_mac(LinkVeth::new(&veth.host.name, &veth.inside.name), &veth.host)
                .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
            match bridge {
                Some(bridge) => link.controller(bridge).build(),
                None => link.build(),
            }
        };
        if let Err(error) = self.host.link().add(message()).execute().await {
            match is(&error, ErrorKind::AlreadyExists) && remove_stale(&self.host, container, &veth.host.name).await? {
                true => self.host.link().add(message()).execute().await.map_err(plain)?,
                false if is(&error, ErrorKind::AlreadyExists) => bail!(
                    "the host, or the container, has an interface of this name already: remove it (`ip link delete {}`), or give hostInterface",
                    veth.host.name
                ),
                false => return Err(plain(error)),
            }
        }
        let host = link(&self.host, &veth.host.name).await?.context("it is not there")?;
        let inside = link(&self.inside, &veth.inside.name).await?.context("it is not inside")?;
        settings.take_no_routes(&veth.host.name)?;
        if veth.addresses.iter().any(|(address, _)| address.is_ipv6()) {
            add_link_local(&self.host, &host).await?;
            add_link_local(&self.inside, &inside).await?;
        }
        let (host, inside) = (host.header.index, inside.header.index);
        for (handle, index, end) in [(&self.host, host, &veth.host), (&self.inside, inside, &veth.inside)] {
            if let Some(name) = &end.alternative {
                handle.link().property_add(index).alt_ifname(&[name]).execute().await.map_err(plain)?;
            }
        }
        self.host_side(container, veth, host).await?;
        self.inside_side(veth, inside).await
    }

    async fn host_side(&self, container: &str, veth: &Veth, index: u32) -> Result<()> {
        // The alias can't be given to a link that is being made.
        let message = LinkUnspec::new_with_index(index).alias(alias(container)).up();
        self.host.link().set(message.build()).execute().await.map_err(plain).context("set it up")?;
        for address in &veth.host_addresses {
            add_address(&self.host, index, *address, whole(*address)).await?;
        }
        if veth.bridge.is_none() {
            for (address, _) in &veth.addresses {
                add_route(&self.host, index, Some(*address), None).await?;
            }
        }
        Ok(())
    }

    async fn inside_side(&self, veth: &Veth, index: u32) -> Result<()> {
        up(&self.inside, index).await.context("set it up inside")?;
        for (address, prefix) in &veth.addresses {
            add_address(&self.inside, index, *address, *prefix).await?;
        }
        for peer in &veth.peers {
            add_route(&self.inside, index, Some(*peer), None).await?;
        }
        for gateway in &veth.gateways {
            add_route(&self.inside, index, None, Some(*gateway)).await?;
        }
        Ok(())
    }

    /// Gives the links of a container that runs the addresses and routes of `new`. Said again, it does what is
    /// left to do.
    pub async fn change(&self, old: &[Veth], new: &[Veth]) -> Result<()> {
        for (old, new) in old.iter().zip(new).filter(|(old, new)| old != new) {
            self.change_veth(old, new).await.with_context(|| format!("link {}", new.host.name))?;
        }
        Ok(())
    }

    async fn change_veth(&self, old: &Veth, new: &Veth) -> Result<()> {
        let host = link(&self.host, &old.host.name).await?.context("it is not there any more")?;
        // Whatever root inside calls the other end: IFLA_LINK is its index there.
        let inside = host.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Link(index) => Some(*index),
            _ => None,
        });
        let (host, inside) = (host.header.index, inside.context("it has no other end")?);
        let routed = |veth: &Veth| match veth.bridge {
            Some(_) => Vec::new(),
            None => veth.addresses.iter().map(|(address, _)| *address).collect(),
        };
        let whole = |veth: &Veth| -> Vec<(IpAddr, u8)> {
            veth.host_addresses.iter().map(|address| (*address, whole(*address))).collect()
        };
        let gone = |gone: &[IpAddr], stay: &[IpAddr]| -> Vec<IpAddr> {
            gone.iter().filter(|address| !stay.contains(address)).copied().collect()
        };
        for gateway in gone(&old.gateways, &new.gateways) {
            remove_route(&self.inside, inside, None, Some(gateway)).await?;
        }
        for peer in gone(&old.peers, &new.peers) {
            remove_route(&self.inside, inside, Some(peer), None).await?;
        }
        for address in gone(&routed(old), &routed(new)) {
            remove_route(&self.host, host, Some(address), None).await?;
        }
        change_addresses(&self.host, host, &whole(old), &whole(new)).await?;
        for address in gone(&routed(new), &routed(old)) {
            replace_route(&self.host, host, Some(address), None).await?;
        }
        change_addresses(&self.inside, inside, &old.addresses, &new.addresses).await?;
        // With an address the kernel takes away the routes that it is the source of.
        for peer in &new.peers {
            replace_route(&self.inside, inside, Some(*peer), None).await?;
        }
        for gateway in &new.gateways {
            replace_route(&self.inside, inside, None, Some(*gateway)).await?;
        }
        Ok(())
    }

    /// Its index inside.
    async fn macvlan(&self, macvlan: &Macvlan) -> Result<u32> {
        let parent = index(&self.host, &macvlan.parent).await?;
        let parent = parent.with_context(|| format!("the host has no interface {}", macvlan.parent))?;
        let message = with_mac(LinkMacVlan::new(&macvlan.inside.name, parent, MacVlanMode::Bridge), &macvlan.inside)
            .setns_by_fd(self.inside_namespace.as_raw_fd())
            .up();
        self.host.link().add(message.build()).execute().await.map_err(plain)?;
        let index = index(&self.inside, &macvlan.inside.name).await?.context("it is not inside")?;
        if let Some(name) = &macvlan.inside.alternative {
            self.inside.link().property_add(index).alt_ifname(&[name]).execute().await.map_err(plain)?;
        }
        Ok(index)
    }

    async fn move_in(&self, name: &str) -> Result<Moved> {
        let there = index(&self.host, name).await?.context("the host has no such interface")?;
        move_to(&self.host, there, self.inside_namespace.as_raw_fd(), None).await?;
        let index = index(&self.inside, name).await?.context("it is not inside")?;
        Ok(Moved { name: name.to_owned(), index: Some(index), is_made: false })
    }
}

/// Lets 127.0.0.1 be the source of what goes over links, or the destination of what comes, or not. On only as long as the rules are
/// there that drop what comes back for it unasked.
pub async fn set_route_localnet(host: &Handle, names: impl Iterator<Item = &str>, is_on: bool) -> Result<()> {
    for name in names {
        let index = index(host, name).await?.with_context(|| format!("there is no interface {name} any more"))?;
        let message = LinkUnspec::new_with_index(index).append_extra_attribute(route_localnet(is_on)).build();
        host.link().set(message).execute().await.map_err(plain).context("set route_localnet")?;
    }
    Ok(())
}

/// One of an earlier run of this container; whether there was one.
pub async fn remove_stale(host: &Handle, container: &str, name: &str) -> Result<bool> {
    let Some(link) = link(host, name).await? else { return Ok(false) };
    let is_ours = link.attributes.contains(&LinkAttribute::IfAlias(alias(container)));
    if is_ours {
        host.link().del(link.header.index).execute().await.map_err(plain)?;
    }
    Ok(is_ours)
}

/// What the alias of a link on the host says.
fn alias(container: &str) -> String {
    format!("firn container {container}")
}

fn with_mac<T>(message: LinkMessageBuilder<T>, interface: &Interface) -> LinkMessageBuilder<T> {
    match interface.mac {
        Some(mac) => message.address(mac.to_vec()),
        None => message,
    }
}

pub async fn link(handle: &Handle, name: &str) -> Result<Option<LinkMessage>> {
    match handle.link().get().match_name(name).execute().try_next().await {
        Err(error) if is_gone(&error) => Ok(None),
        result => result.map_err(plain).with_context(|| format!("look for interface {name}")),
    }
}

pub async fn index(handle: &Handle, name: &str) -> Result<Option<u32>> {
    Ok(link(handle, name).await?.map(|link| link.header.index))
}

async fn up(handle: &Handle, index: u32) -> Result<()> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await.map_err(plain)
}

/// The kernel sets an interface down that changes its namespace.
pub async fn move_to(handle: &Handle, index: u32, namespace: RawFd, name: Option<&str>) -> Result<()> {
    let message = LinkUnspec::new_with_index(index).setns_by_fd(namespace);
    let message = match name {
        Some(name) => message.name(name).build(),
        None => message.build(),
    };
    handle.link().set(message).execute().await.map_err(plain)
}

/// Usable at once: without a search for others that have it (IFA_F_NODAD).
async fn add_address(handle: &Handle, index: u32, address: IpAddr, prefix: u8) -> Result<()> {
    let mut request = handle.address().add(index, address, prefix);
    if address.is_ipv6() {
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    match request.execute().await {
        Err(error) if error_kind(&error) == Some(ErrorKind::PermissionDenied) && address.is_ipv6() => {
            bail!("address {address}: IPv6 is off here (sysctl net.ipv6.conf.default.disable_ipv6)")
        }
        result => result.map_err(plain).with_context(|| format!("address {address}/{prefix}")),
    }
}

/// Those that stay are not touched.
async fn change_addresses(handle: &Handle, index: u32, old: &[(IpAddr, u8)], new: &[(IpAddr, u8)]) -> Result<()> {
    for (address, prefix) in old.iter().filter(|address| !new.contains(address)) {
        let message = handle.address().add(index, *address, *prefix).message_mut().clone();
        match handle.address().del(message).execute().await {
            Err(error) if error_kind(&error) == Some(ErrorKind::AddrNotAvailable) => {}
            result => result.map_err(plain).with_context(|| format!("remove address {address}/{prefix}"))?,
        }
    }
    for (address, prefix) in new.iter().filter(|address| !old.contains(address)) {
        match add_address(handle, index, *address, *prefix).await {
            // A link has an address once.
            Err(error) if os_error(&error) == Some(libc::EEXIST) => {}
            result => result?,
        }
    }
    Ok(())
}

/// The link-local address that the kernel would make (RFC 4291, 2.5.6), before the link is up: the kernel's
/// own can't ask for neighbours until nobody else is known to have it, a second or two later.
async fn add_link_local(handle: &Handle, link: &LinkMessage) -> Result<()> {
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => <[u8; 6]>::try_from(mac.as_slice()).ok(),
        _ => None,
    });
    let [a, b, c, d, e, f] = mac.context("the link has no MAC address")?;
    let address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    add_address(handle, link.header.index, Ipv6Addr::from(address).into(), 64).await
}

/// To one address over a link, or by a gateway to all others.
async fn add_route(handle: &Handle, index: u32, to: Option<IpAddr>, gateway: Option<IpAddr>) -> Result<()> {
    let what = || route_words(to, gateway);
    match handle.route().add(route(index, to, gateway)).execute().await {
        Err(error) if is(&error, ErrorKind::AlreadyExists) => {
            bail!("{}: there is one already, of another container with this address or of the host", what())
        }
        result => result.map_err(plain).with_context(what),
    }
}

/// One that is gone is no error.
async fn remove_route(handle: &Handle, index: u32, to: Option<IpAddr>, gateway: Option<IpAddr>) -> Result<()> {
    match handle.route().del(route(index, to, gateway)).execute().await {
        Err(error) if os_error(&plain(error.clone())) == Some(libc::ESRCH) => Ok(()),
        result => result.map_err(plain).with_context(|| format!("remove {}", route_words(to, gateway))),
    }
}

/// Whether the link has it already or not.
async fn replace_route(handle: &Handle, index: u32, to: Option<IpAddr>, gateway: Option<IpAddr>) -> Result<()> {
    remove_route(handle, index, to, gateway).await?;
    add_route(handle, index, to, gateway).await
}

fn route(index: u32, to: Option<IpAddr>, gateway: Option<IpAddr>) -> RouteMessage {
    match to.or(gateway) {
        Some(IpAddr::V6(_)) => {
            let mut route = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index);
            if let Some(IpAddr::V6(to)) = to {
                route = route.destination_prefix(to, 128);
            }
            if let Some(IpAddr::V6(gateway)) = gateway {
                route = route.gateway(gateway);
            }
            route.build()
        }
        _ => {
            let mut route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
            if let Some(IpAddr::V4(to)) = to {
                route = route.destination_prefix(to, 32).scope(RouteScope::Link);
            }
            if let Some(IpAddr::V4(gateway)) = gateway {
                route = route.gateway(gateway);
            }
            route.build()
        }
    }
}

fn route_words(to: Option<IpAddr>, gateway: Option<IpAddr>) -> String {
    match (to, gateway) {
        (Some(to), _) => format!("route to {to}"),
        (_, gateway) => format!("default route by {}", gateway.map(|address| address.to_string()).unwrap_or_default()),
    }
}

/// The prefix of an address alone.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Sets route_localnet of a link: nested attributes IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF
/// (linux/if_link.h), with the number of the setting (linux/ip.h) as the type.
fn route_localnet(is_on: bool) -> LinkAttribute {
    const IFLA_AF_SPEC: u16 = 26;
    const AF_INET: u16 = 2;
    const IFLA_INET_CONF: u16 = 1;
    const ROUTE_LOCALNET: u16 = 26;
    let nested = |kind: u16, inner: &[u8]| {
        let length = u16::try_from(inner.len() + 4).unwrap_or(u16::MAX);
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), inner].concat()
    };
    let setting = nested(ROUTE_LOCALNET, &u32::from(is_on).to_ne_bytes());
    let inet = nested(AF_INET, &nested(IFLA_INET_CONF, &setting));
    LinkAttribute::Other(DefaultNla::new(IFLA_AF_SPEC, inet))
}

/// The kernel's word alone.
pub fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::NetlinkError(message) => anyhow::Error::from(message.to_io()),
        error => anyhow::Error::from(error),
    }
}

pub fn os_error(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
}

fn error_kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::NetlinkError(message) => Some(message.to_io().kind()),
        _ => None,
    }
}

fn is(error: &Error, kind: ErrorKind) -> bool {
    error_kind(error) == Some(kind)
}

/// ENODEV, which has no kind.
pub fn is_gone(error: &Error) -> bool {
    matches!(error, Error::NetlinkError(message) if message.to_io().raw_os_error() == Some(libc::ENODEV))
}
