//! The network of an ordinary user's container: which program makes it, and whether its ports can be had.

use crate::definition::schema::Definition;
use crate::generation::{self, Container};
use crate::host::network_program;
use crate::wanted::network::is_private;
use anyhow::{Context, Result, bail};
use firn_network::message::{Helper, UserNetwork, UserPort, VERSION};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

/// The first port that needs no right of root's (ip(7)).
const FIRST_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// tun(4): any user may open it, for namespaces of one's own.
const TUN: &str = "/dev/net/tun";
/// A variable that has the other program tried first.
const CHOICE: &str = "FIRNCTL_NETWORK";

/// Finds what such a network would lack on this host. Nothing is made.
pub fn check(container: &Container, definition: &Definition) -> Result<()> {
    let Some(network) = of(container, definition)? else { return Ok(()) };
    network_program()?;
    check_numbers(&network.ports)?;
    for other in generation::all(container.places())? {
        if other.name == container.name || other.connect()?.is_none() {
            continue;
        }
        let theirs = other.running()?.map(|run| ports(&run.definition)).transpose()?.unwrap_or_default();
        if let Some(port) = network.ports.iter().find(|port| theirs.iter().any(|other| is_same(port, other))) {
            bail!("forwardPorts: {} is taken by container {}", shown(port), other.name);
        }
    }
    // Those that it has are opened anew by its restart.
    if container.connect()?.is_none() {
        File::options().read(true).write(true).open(TUN).with_context(|| {
            format!(
                "privateNetwork: {TUN}, which pasta and slirp4netns need: have root `chmod 0666 {TUN}`, as udev does"
            )
        })?;
        network.ports.iter().try_for_each(check_free)?;
    }
    Ok(())
}

/// What is to be made; `None`: it has the host's network.
pub fn of(container: &Container, definition: &Definition) -> Result<Option<UserNetwork>> {
    if !is_private(definition) {
        return Ok(None);
    }
    let (helper, program) = find_helper()?;
    let ports = ports(definition)?;
    if let Some(port) = ports.iter().find(|port| port.host_address.is_some_and(|address| address.is_ipv6()))
        && helper == Helper::Slirp4netns
    {
        bail!("forwardPorts: {}: slirp4netns forwards IPv4 alone: install pasta (package passt)", shown(port));
    }
    let container = container.name.clone();
    Ok(Some(UserNetwork { version: VERSION, container, helper, program, ports }))
}

/// pasta, which is faster and has IPv6, else slirp4netns.
fn find_helper() -> Result<(Helper, PathBuf)> {
    let all = [("pasta", Helper::Pasta), ("slirp4netns", Helper::Slirp4netns)];
    let choice = std::env::var(CHOICE).unwrap_or_default();
    if !choice.is_empty() && !all.iter().any(|(name, _)| *name == choice) {
        bail!("{CHOICE}={choice}: give pasta or slirp4netns");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find =
        |name: &str| std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    let wanted = all.into_iter().filter(|(name, _)| choice.is_empty() || *name == choice);
    let found = wanted.filter_map(|(name, helper)| Some((helper, find(name)?))).next();
    found.with_context(|| match choice.as_str() {
        "" => {
            "privateNetwork: the network of an ordinary user's container is made by pasta or slirp4netns: install one \
               of them (Debian's packages passt and slirp4netns)"
                .to_owned()
        }
        name => format!("privateNetwork: {CHOICE}={name}: it is not installed"),
    })
}

fn ports(definition: &Definition) -> Result<Vec<UserPort>> {
    let ports = definition.link.forward_ports.iter();
    let port = |port: &crate::definition::schema::ForwardPort| {
        let address = port.host_address.as_deref().map(str::parse).transpose().context("forwardPorts: hostAddress")?;
        Ok(UserPort {
            protocol: format!("{:?}", port.protocol).to_lowercase(),
            host_address: address,
            host_port: port.host_port,
            port: port.container_port.unwrap_or(port.host_port),
        })
    };
    ports.map(port).collect()
}

/// All that are too low are told.
fn check_numbers(ports: &[UserPort]) -> Result<()> {
    // Without the file it is the kernel's default.
    let first: u16 = std::fs::read_to_string(FIRST_PORT).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
    let low: Vec<String> = ports.iter().filter(|port| port.host_port < first).map(shown).collect();
    if low.is_empty() {
        return Ok(());
    }
    bail!(
        "forwardPorts: {}: an ordinary user has ports from {first} on: give hostPort a higher number, or have root set \
         net.ipv4.ip_unprivileged_port_start",
        low.join(", ")
    )
}

fn is_same(a: &UserPort, b: &UserPort) -> bool {
    let is_all = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
    let overlaps = is_all(a.host_address) || is_all(b.host_address) || a.host_address == b.host_address;
    a.protocol == b.protocol && a.host_port == b.host_port && overlaps
}

/// By asking for it, as an ordinary user sees no other users' sockets.
fn check_free(port: &UserPort) -> Result<()> {
    let address = SocketAddr::new(port.host_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.host_port);
    let opened = match port.protocol.as_str() {
        "tcp" => TcpListener::bind(address).map(drop),
        _ => UdpSocket::bind(address).map(drop),
    };
    opened.with_context(|| format!("forwardPorts: {}: can't be opened on this host", shown(port)))
}

fn shown(port: &UserPort) -> String {
    match port.host_address {
        Some(IpAddr::V6(address)) => format!("[{address}]:{}/{}", port.host_port, port.protocol),
        Some(address) => format!("{address}:{}/{}", port.host_port, port.protocol),
        None => format!("{}/{}", port.host_port, port.protocol),
    }
}
