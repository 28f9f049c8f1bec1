//! The program `firn-network`: makes the network of a container before its init runs, and takes it away
//! after its end. A hook of the runtime's (runtime-spec, config.md, "POSIX-platform Hooks"), which is also
//! run by firnctl for what was killed.

#![forbid(unsafe_code)]

mod links;
mod lockdown;
mod nft;
mod pin;
mod rules;

use anyhow::{Context, Result, bail};
use firn_network::message::{Network, VERSION};
use links::{Links, Moved};
use nft::Nft;
use rtnetlink::Handle;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

const USAGE: &str =
    "usage: firn-network up FILE (with the container's OCI state on stdin) | down FILE | change FILE NEW";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up", file] => read(Path::new(file)).and_then(|network| up(&network, Path::new(file))),
        ["down", file] => read(Path::new(file)).and_then(|network| down(&network, Path::new(file))),
        ["change", file, new] => read(Path::new(file)).and_then(|network| change(&network, &read(Path::new(new))?)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firn-network: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the network of the container whose state is on stdin.
fn up(network: &Network, file: &Path) -> Result<()> {
    let pid = init_of_stdin()?;
    let lock = pin::lock(&network.pin)?;
    // Of a run whose end the runtime has not seen.
    take_back(network, file)?;
    pin::release(&network.pin)?;
    pin::keep(pid, &network.pin)?;
    let namespace = pin::of_process(pid)?;
    let host = pin::own()?;
    forward(network)?;
    let moved_file = moved_file(file);
    let mut moved_file = File::create(&moved_file).with_context(|| format!("write {}", moved_file.display()))?;
    let nft = rules::are_needed(network).then(Nft::start).transpose()?;
    let runtime = runtime()?;
    let links = Links {
        host: connect(&runtime)?,
        inside: connect_in(&runtime, &namespace, &host)?,
        inside_namespace: namespace.as_fd(),
    };
    lockdown::enter()?;
    runtime.block_on(links.make(network, |moved| record(&mut moved_file, moved)))?;
    if let Some(nft) = nft {
        nft.commit(&rules::added(network))?;
    }
    drop(lock);
    Ok(())
}

/// Makes the ports of a container that runs those of `new`.
fn change(network: &Network, new: &Network) -> Result<()> {
    let lock = pin::lock(&network.pin)?;
    forward(new)?;
    let nft = Nft::start()?;
    let runtime = runtime()?;
    let host = connect(&runtime)?;
    lockdown::enter()?;
    runtime.block_on(links::reach_localhost(&host, new))?;
    nft.commit(&rules::changed(network, new))?;
    drop(lock);
    Ok(())
}

/// Takes it away, also where only some of it is there.
fn down(network: &Network, file: &Path) -> Result<()> {
    let lock = pin::lock(&network.pin)?;
    if rules::are_needed(network) {
        Nft::start()?.commit(&rules::removed(network, pin::is_last(&network.pin)))?;
    }
    take_back(network, file)?;
    pin::release(&network.pin)?;
    drop(lock);
    Ok(())
}

/// Empties the namespace that is kept.
fn take_back(network: &Network, file: &Path) -> Result<()> {
    let Some(namespace) = pin::kept(&network.pin)? else { return Ok(()) };
    let moved = moved(&moved_file(file))?;
    let host = pin::own()?;
    let runtime = runtime()?;
    let inside = connect_in(&runtime, &namespace, &host)?;
    let links = Links { host: connect(&runtime)?, inside, inside_namespace: namespace.as_fd() };
    runtime.block_on(links.take_back(&moved, host.as_fd()))
}

fn read(path: &Path) -> Result<Network> {
    let what = || format!("read {}", path.display());
    let network: Network = serde_json::from_slice(&std::fs::read(path).with_context(what)?).with_context(what)?;
    if network.version != VERSION {
        bail!("{}: version {} is of another firn: its firn-network makes it", path.display(), network.version);
    }
    Ok(network)
}

/// A line for each.
fn record(file: &mut File, moved: &Moved) -> Result<()> {
    let text = serde_json::to_string(moved).context("write JSON")?;
    file.write_all(format!("{text}\n").as_bytes()).context("record an interface that moves")
}

/// Beside the message.
fn moved_file(file: &Path) -> PathBuf {
    file.with_extension("moved")
}

fn moved(path: &Path) -> Result<Vec<Moved>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.with_context(|| format!("read {}", path.display()))?,
    };
    let mut all: Vec<Moved> = Vec::new();
    // The last word on each counts; a line that is cut off was not followed by a move.
    for moved in text.lines().filter_map(|line| serde_json::from_str::<Moved>(line).ok()) {
        all.retain(|other| other.name != moved.name);
        all.push(moved);
    }
    Ok(all)
}

/// The container's init, which waits for us: the `pid` of its state.
fn init_of_stdin() -> Result<u32> {
    #[derive(serde::Deserialize)]
    struct State {
        pid: u32,
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read the container's state from stdin")?;
    let state: State = serde_json::from_str(&text).context("read the container's state from stdin")?;
    Ok(state.pid)
}

/// Packets from other machines get on to a container that has forwarded ports, and back. It stays on: others
/// may have come to need it.
fn forward(network: &Network) -> Result<()> {
    let mut addresses = network.ports.iter().map(|port| port.address).chain(network.masquerade.iter().copied());
    let has_v6 = addresses.clone().any(|address| address.is_ipv6());
    if addresses.any(|address| address.is_ipv4()) {
        turn_on("/proc/sys/net/ipv4/ip_forward")?;
    }
    if has_v6 {
        keep_router_advertisements()?;
        turn_on("/proc/sys/net/ipv6/conf/all/forwarding")?;
    }
    Ok(())
}

fn turn_on(path: &str) -> Result<()> {
    let is_on = std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "0");
    if is_on { Ok(()) } else { std::fs::write(path, "1").with_context(|| format!("write 1 to {path}")) }
}

/// A host that forwards IPv6 loses the routes that it learns from routers, unless its interfaces take them
/// all the same (ip-sysctl, accept_ra = 2).
fn keep_router_advertisements() -> Result<()> {
    let directory = Path::new("/proc/sys/net/ipv6/conf");
    for entry in std::fs::read_dir(directory).context("read /proc/sys/net/ipv6/conf")?.flatten() {
        let path = entry.path().join("accept_ra");
        if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            std::fs::write(&path, "2").with_context(|| format!("write 2 to {}", path.display()))?;
        }
    }
    Ok(())
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_io().build().context("start an event loop")
}

/// A connection in the namespace that we are in.
fn connect(runtime: &Runtime) -> Result<Handle> {
    let _entered = runtime.enter();
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    runtime.spawn(connection);
    Ok(handle)
}

/// A socket stays in the namespace where it was made (network_namespaces(7)).
fn connect_in(runtime: &Runtime, namespace: &File, host: &File) -> Result<Handle> {
    let enter = |namespace: &File| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("enter a network namespace")
    };
    enter(namespace)?;
    let handle = connect(runtime);
    enter(host)?;
    handle
}
