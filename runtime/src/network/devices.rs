//! `linux.netDevices`: moves network devices of the host into the container, with their
//! permanent addresses. A virtual device is destroyed with its namespace, so if the container
//! can't be created they are moved back.

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

/// A network namespace, and a netlink socket in it.
#[derive(Debug)]
struct Place {
    namespace: OwnedFd,
    socket: Socket,
}

/// The moved devices, with their previous names, flags and addresses.
#[derive(Debug)]
pub struct Moved {
    host: Place,
    container: Place,
    devices: Vec<(Link, Vec<Address>, String)>,
}

/// Moves all devices into `namespace`, or none.
pub fn move_in(devices: &[NetDevice], namespace: OwnedFd, log: &Log) -> Result<Moved> {
    let host = Place { namespace: own_namespace()?, socket: Socket::open().doing(|| "open a netlink socket")? };
    let container = Place { socket: socket_in(namespace.as_fd())?, namespace };
    let mut moved = Moved { host, container, devices: Vec::new() };
    for device in devices {
        if let Err(error) = moved.move_device(device).doing(|| format!("network device {}", device.name)) {
            moved.move_back(log);
            return Err(error);
        }
    }
    Ok(moved)
}

/// The devices that are not in `namespace` yet. For a name such as `eth%d`, which the kernel
/// completes, the device counts as moved if it is gone from the host.
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
    fn move_device(&mut self, device: &NetDevice) -> Result<()> {
        let links = self.host.socket.links().doing(|| "list the host's network devices")?;
        let Some(link) = links.into_iter().find(|link| link.name == device.name) else {
            bail!("it does not exist on the host");
        };
        // Read first: a move deletes all addresses.
        let addresses = self.host.socket.addresses().doing(|| "list its addresses")?;
        let lasting = |address: &Address| address.index == link.index && address.flags & PERMANENT != 0;
        let addresses: Vec<_> = addresses.into_iter().filter(lasting).filter(|a| a.scope == UNIVERSE).collect();
        let moved = transfer(&self.host, &link, &self.container, &device.inside);
        if moved.is_err() && find(&self.host, &link.name).is_ok() {
            return moved.map(drop);
        }
        // The kernel renames last: if the request failed, the device has the old name.
        let name = moved.as_ref().map_or_else(|_| link.name.clone(), Clone::clone);
        let settled = moved.and_then(|name| restore_addresses(&self.container, &name, &addresses, true));
        self.devices.push((link, addresses, name));
        settled
    }

    /// Moves all devices back; failures are logged.
    pub fn move_back(&mut self, log: &Log) {
        for (before, addresses, name) in std::mem::take(&mut self.devices).into_iter().rev() {
            let back = find(&self.container, &name)
                .and_then(|link| transfer(&self.container, &link, &self.host, &before.name))
                .and_then(|name| restore_addresses(&self.host, &name, &addresses, before.up));
            if let Err(error) = back {
                log.warn(&format!("network device {}: move it back: {}", before.name, error.chain()));
            }
        }
    }
}

/// RT_SCOPE_UNIVERSE of rtnetlink(7): not link-local.
const UNIVERSE: u8 = 0;

fn find(place: &Place, name: &str) -> Result<Link> {
    let links = place.socket.links().doing(|| "list network devices")?;
    links.into_iter().find(|link| link.name == name).ok_or_else(|| Error::new(format!("{name} is gone")))
}

/// Moves and renames a device by one request. For a name such as `eth%d` the kernel chooses a
/// free one. Returns the name.
fn transfer(from: &Place, link: &Link, to: &Place, name: &str) -> Result<String> {
    let before = to.socket.links().doing(|| "list the network devices of the target namespace")?;
    let namespace = to.namespace.as_raw_fd() as u32;
    let request = Message::change_link(link.index, 0, 0)
        .attribute(LINK_NAME, &[name.as_bytes(), b"\0"].concat())
        .attribute(LINK_NAMESPACE, &namespace.to_ne_bytes());
    from.socket.request(&request).doing(|| format!("move it and rename it to {name}"))?;
    if !name.contains('%') {
        return Ok(name.to_owned());
    }
    let after = to.socket.links().doing(|| "list the network devices of the target namespace")?;
    let new = after.into_iter().find(|link| !before.iter().any(|old| old.name == link.name));
    new.map(|link| link.name).ok_or_else(|| Error::new("it is gone"))
}

/// Adds the addresses again, and sets the device up.
fn restore_addresses(place: &Place, name: &str, addresses: &[Address], up: bool) -> Result<()> {
    let link = find(place, name)?;
    for address in addresses {
        // The label starts with the old name; permanent addresses have no lifetime.
        let kept = |kind: u16| ![ADDRESS_LABEL, ADDRESS_LIFETIME, ADDRESS_FLAGS].contains(&kind);
        let attributes = address.attributes.iter().filter(|(kind, _)| kept(*kind)).cloned().collect();
        let address = Address { attributes, ..address.clone() };
        place.socket.request(&Message::add_address(&address, link.index)).doing(|| "add its address")?;
    }
    let state = if up { UP } else { 0 };
    place.socket.request(&Message::change_link(link.index, state, UP)).doing(|| "set it up")
}
