//! The network of a start: the message for `firn-network`, which the runtime calls, and what is left of an
//! earlier run.

use super::{ports, user_network};
use crate::definition::schema::Definition;
use crate::generation::Container;
use crate::host::{self, Owner};
use crate::service::unit::Unit;
use crate::wanted::config::NetworkHooks;
use crate::wanted::network::{self, Place};
use anyhow::{Context, Result, bail};
use firn_network::message::{Network, RESOLVER, USER_RESOLVER};
use nix::net::if_::if_nametoindex;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Finds what a network would lack on this host. Nothing is made.
pub fn check(container: &Container, definition: &Definition) -> Result<()> {
    if let Some(path) = &definition.network_namespace
        && !Path::new(path).exists()
    {
        bail!("networkNamespace: there is no {path}: `ip netns add NAME` makes /run/netns/NAME");
    }
    if container.places().owner() == Owner::User {
        return user_network::check(container, definition);
    }
    let Some(network) = wanted(container, definition)? else { return Ok(()) };
    host::network_program()?;
    ports::check(container, &network)?;
    let is_missing = |name: &&str| if_nametoindex(*name).is_err();
    if let Some(bridge) = network.veths.iter().filter_map(|veth| veth.bridge.as_deref()).find(is_missing) {
        bail!("hostBridge: the host has no interface {bridge}: `ip link add {bridge} type bridge` makes a bridge");
    }
    if let Some(parent) = network.macvlans.iter().map(|macvlan| &*macvlan.parent).find(is_missing) {
        bail!("macvlans: the host has no interface {parent}");
    }
    // Those that it has taken in come back before the start.
    let has = earlier(container).filter(|_| network.pin.exists()).map(|earlier| earlier.interfaces).unwrap_or_default();
    let missing = network.interfaces.iter().map(|name| &**name).filter(|name| !has.iter().any(|own| own == name));
    if let Some(name) = missing.into_iter().find(is_missing) {
        bail!("interfaces: the host has no interface {name}");
    }
    Ok(())
}

/// What the last start has made.
fn earlier(container: &Container) -> Option<Network> {
    serde_json::from_slice(&std::fs::read(container.network_file()).ok()?).ok()
}

/// What is to be made.
fn wanted(container: &Container, definition: &Definition) -> Result<Option<Network>> {
    let places = container.places();
    let place =
        Place { pin: places.networks().join(&container.name), table: places.table(), machine: host::machine_id() };
    network::of(&container.name, definition, &place)
}

/// What the runtime calls.
pub fn hooks(container: &Container, definition: &Definition) -> Result<Option<NetworkHooks>> {
    let (up, down) = match container.places().owner() {
        Owner::Root if wanted(container, definition)?.is_some() => ("up", "down"),
        Owner::User if network::is_private(definition) => ("user-up", "user-down"),
        _ => return Ok(None),
    };
    Ok(Some(NetworkHooks { program: host::network_program()?, message: container.network_file(), up, down }))
}

/// Where it asks for names, if that is an address of its own.
pub fn resolver(container: &Container, definition: &Definition) -> Result<Option<Ipv4Addr>> {
    Ok(match container.places().owner() {
        Owner::Root => wanted(container, definition)?.and_then(|network| network.resolver.then_some(RESOLVER)),
        Owner::User => network::is_private(definition).then_some(USER_RESOLVER),
    })
}

/// Writes what a start wants, and starts what must be there before the container's monitor.
pub fn write(container: &Container, definition: &Definition) -> Result<()> {
    if container.places().owner() == Owner::User {
        return user_network::of(container, definition)?.map_or(Ok(()), |network| container.set_network(&network));
    }
    let Some(network) = wanted(container, definition)? else { return Ok(()) };
    container.set_network(&network)?;
    if let Some(unit) = Unit::of(&container.name, container.places()) {
        unit.serve_network()?;
    }
    call(&["start".as_ref(), container.network_file().as_os_str()]).map(drop)
}

/// Changes the network of a container that runs.
pub fn change(container: &Container, definition: &Definition) -> Result<()> {
    let Some(network) = wanted(container, definition)? else { return Ok(()) };
    let file = container.network_file();
    let new = file.with_extension("changed");
    let text = serde_json::to_vec_pretty(&network).context("write JSON")?;
    std::fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    call(&["change".as_ref(), file.as_os_str(), new.as_os_str()])?;
    container.set_network(&network)?;
    tell_blocked(container);
    Ok(())
}

/// Takes away what an earlier run may have left: links, rules, interfaces that moved in.
pub fn take_down(container: &Container) -> Result<()> {
    let file = container.network_file();
    if !file.exists() {
        return Ok(());
    }
    let verb = if container.places().owner() == Owner::User { "user-down" } else { "down" };
    call(&[verb.as_ref(), file.as_os_str()])?;
    container.forget_network()
}

/// Has the process that serves names end, if the container was the last one.
pub fn leave(container: &Container) -> Result<()> {
    let pins = container.places().networks();
    match pins.with_extension("socket").exists() {
        true => call(&["leave".as_ref(), pins.join(&container.name).as_os_str()]).map(drop),
        false => Ok(()),
    }
}

/// Tells which rules of other firewalls drop what the container's options ask for. It runs all the same: they may
/// be meant, or are about to change.
pub fn tell_blocked(container: &Container) {
    let asks = |network: Network| !network.ports.is_empty() || !network.masquerade.is_empty();
    if !earlier(container).is_some_and(asks) {
        return;
    }
    match call(&["blocked".as_ref(), container.network_file().as_os_str()]) {
        Ok(said) => {
            for line in said.lines() {
                eprintln!("firnctl: container {}: {}", container.name, firn::log::printable(line));
            }
        }
        Err(error) => eprintln!("firnctl: container {}: {error:#}", container.name),
    }
}

/// What it prints.
fn call(arguments: &[&OsStr]) -> Result<String> {
    let mut command = Command::new(host::network_program()?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().context("run firn-network")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
