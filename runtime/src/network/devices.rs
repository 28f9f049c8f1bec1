//! `linux.netDevices`: devices of the host that move into the container, with
//! their permanent addresses. A device in a namespace that ends is lost if it
//! is a virtual one: so when a container can't be made they move back.

use super::netlink::{
    ADDRESS_FLAGS, ADDRESS_LABEL, ADDRESS_LIFETIME, Address, LINK_NAME, LINK_NAMESPACE, Link, Message, PERMANENT,
    Socket, UP,
};
use super::{own_namespace, socket_in};
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::log::Log;
use crate::plan::network::NetDevice;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};

/// A network namespace, and how to speak about what is in it.
#[derive(Debug)]
struct Place {
    namespace: OwnedFd,
    socket: Socket,
}

/// What has moved, and how it was before.
#[derive(Debug)]
pub struct Moved {
    host: Place,
    container: Place,
    devices: Vec<(Link, Vec<Address>, String)>,
}

/// Moves all of them into `namespace`, or none.
pub fn move_in(devices: &[NetDevice], namespace: OwnedFd, log: &Log) -> Result<Moved> {
    let host = Place { namespace: own_namespace()?, socket: Socket::open().doing(|| "open a netlink socket")? };
    let container = Place { socket: socket_in(namespace.as_fd())?, namespace };
    let mut moved = Moved { host, container, devices: Vec::new() };
    for device in devices {
        if let Err(error) = moved.one(device).doing(|| format!("network device {}", device.name)) {
            moved.move_back(log);
            return Err(error);
        }
    }
    Ok(moved)
}

/// Those that are not in `namespace` yet. Where the kernel chose a device's name, that
/// can be told by its being gone from the host alone.
pub fn missing_in(namespace: &OwnedFd, devices: &[NetDevice]) -> Result<Vec<NetDevice>> {
    let inside = socket_in(namespace.as_fd())?.links().doing(|| "list the container's network devices")?;
    let host = Socket::open().and_then(|socket| socket.links()).doing(|| "list the host's network devices")?;
    let has = |links: &[Link], name: &str| links.iter().any(|link| link.name == name);
    let is_missing = |device: &&NetDevice| match device.inside.contains('%') {
        true => has(&host, &device.name),
        false => !has(&inside, &device.inside),
    };
    Ok(devices.iter().filter(is_missing).cloned().collect())
}

impl Moved {
    fn one(&mut self, device: &NetDevice) -> Result<()> {
        let links = self.host.socket.links().doing(|| "list the host's")?;
        let Some(link) = links.into_iter().find(|link| link.name == device.name) else {
            bail!("it does not exist on the host");
        };
        // Before it moves, for a move takes all addresses away.
        let addresses = self.host.socket.addresses().doing(|| "list its addresses")?;
        let lasting = |address: &Address| address.index == link.index && address.flags & PERMANENT != 0;
        let addresses: Vec<_> = addresses.into_iter().filter(lasting).filter(|a| a.scope == UNIVERSE).collect();
        let moved = transfer(&self.host, &link, &self.container, &device.inside);
        if moved.is_err() && find(&self.host, &link.name).is_ok() {
            return moved.map(drop);
        }
        // The kernel gives the new name last: without it, the device has the old.
        let name = moved.as_ref().map_or_else(|_| link.name.clone(), Clone::clone);
        let settled = moved.and_then(|name| settle(&self.container, &name, &addresses, true));
        self.devices.push((link, addresses, name));
        settled
    }

    /// As far as that can be done.
    pub fn move_back(&mut self, log: &Log) {
        for (before, addresses, name) in std::mem::take(&mut self.devices).into_iter().rev() {
            let back = find(&self.container, &name)
                .and_then(|link| transfer(&self.container, &link, &self.host, &before.name))
                .and_then(|name| settle(&self.host, &name, &addresses, before.up));
            if let Err(error) = back {
                log.warn(&format!("network device {}: move it back: {}", before.name, error.chain()));
            }
        }
    }
}

/// RT_SCOPE_UNIVERSE: an address that means something elsewhere too.
const UNIVERSE: u8 = 0;

fn find(place: &Place, name: &str) -> Result<Link> {
    let links = place.socket.links().doing(|| "list network devices")?;
    links.into_iter().find(|link| link.name == name).ok_or_else(|| Error::new(format!("{name} is gone")))
}

/// Moves and names it anew in one request. Of a name like `eth%d` the kernel makes
/// one that is free: the name is returned.
fn transfer(from: &Place, link: &Link, to: &Place, name: &str) -> Result<String> {
    let before = to.socket.links().doing(|| "list the other's")?;
    let namespace = to.namespace.as_raw_fd() as u32;
    let request = Message::change_link(link.index, 0, 0)
        .attribute(LINK_NAME, &[name.as_bytes(), b"\0"].concat())
        .attribute(LINK_NAMESPACE, &namespace.to_ne_bytes());
    from.socket.request(&request).doing(|| format!("move it, to be {name}"))?;
    if !name.contains('%') {
        return Ok(name.to_owned());
    }
    let after = to.socket.links().doing(|| "list the other's")?;
    let new = after.into_iter().find(|link| !before.iter().any(|old| old.name == link.name));
    new.map(|link| link.name).ok_or_else(|| Error::new("it is gone"))
}

/// Gives a device its addresses again, and brings it up.
fn settle(place: &Place, name: &str, addresses: &[Address], up: bool) -> Result<()> {
    let link = find(place, name)?;
    for address in addresses {
        // The label begins with the old name; a lifetime of its own no permanent one has.
        let kept = |kind: u16| ![ADDRESS_LABEL, ADDRESS_LIFETIME, ADDRESS_FLAGS].contains(&kind);
        let attributes = address.attributes.iter().filter(|(kind, _)| kept(*kind)).cloned().collect();
        let address = Address { attributes, ..address.clone() };
        place.socket.request(&Message::add_address(&address, link.index)).doing(|| "give it its address")?;
    }
    let state = if up { UP } else { 0 };
    place.socket.request(&Message::change_link(link.index, state, UP)).doing(|| "bring it up")
}
