//! The program `firn-network`: makes the network of a container before its init runs, and takes it away
//! after its end. A hook of the runtime's (runtime-spec, config.md, "POSIX-platform Hooks"), which is also
//! run by firnctl for what was killed.

#![forbid(unsafe_code)]

mod admit;
mod ending;
mod links;
mod lockdown;
mod nft;
mod others;
mod pin;
mod record;
mod resident;
mod rootless;
mod rules;
mod settings;

use anyhow::{Context, Result, bail};
use ending::Ending;
use firn_network::message::{MAIN, Network, Times, VERSION};
use links::Links;
use nft::Nft;
use resident::ask::{self, Resident};
use rtnetlink::Handle;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use settings::Settings;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;
use tokio::runtime::{Builder, Runtime};

const USAGE: &str = "usage: firn-network start FILE | leave NAMESPACE | up FILE (with the container's OCI state on stdin) | down FILE | \
                     change FILE NEW | blocked FILE | user-up FILE | user-down FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start", file] => start(Path::new(file)),
        ["leave", pin] => leave(Path::new(pin)),
        ["up", file] => up(Path::new(file)),
        ["down", file] => down(Path::new(file)),
        ["blocked", file] => blocked(Path::new(file)),
        ["change", file, new] => change(Path::new(file), Path::new(new)),
        ["settings"] => settings::serve(),
        ["reside"] => resident::reside(),
        ["user-up", file] => rootless::up(Path::new(file)),
        ["user-down", file] => rootless::down(Path::new(file)),
        ["user-serve", file, init] => rootless::serve::serve(Path::new(file), init),
        ["admit", _, ref addresses @ ..] => admit::admit(addresses),
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

/// Starts the process that serves what stays, where the container needs it and none runs.
fn start(file: &Path) -> Result<()> {
    let (network, _lock) = read_locked(file)?;
    if ask::is_needed(&network) {
        let resident = Resident::of(&network.pin)?;
        resident.expect(&network)?;
        // One that was killed has served others too.
        for (other, namespace) in running_beside(&network, file) {
            let is_served = resident.containers.contains(&other.container);
            if other.container != network.container && !is_served && ask::is_needed(&other) {
                // What can't be served any more is that container's trouble.
                let _ = resident.wish(&other, &namespace, &pin::own()?).and_then(|wish| resident.serve(&wish));
            }
        }
    }
    Ok(())
}

/// Has that process end, if the container was the last one.
fn leave(pin: &Path) -> Result<()> {
    let _lock = pin::lock(pin)?;
    ask::leave(pin)
}

/// Makes the network of the container whose state is on stdin.
fn up(file: &Path) -> Result<()> {
    let began = SystemTime::now();
    let pid = init_of_stdin()?;
    let (network, _lock) = read_locked(file)?;
    // Of a run whose end the runtime has not seen.
    take_away(&network, file)?;
    pin::keep(pid, &network.pin)?;
    let namespace = pin::of_process(pid)?;
    let host = pin::own()?;
    settings::forward(&network)?;
    let mut moved = record::begin_moved(file)?;
    let mut times = record::begin_times(file)?;
    let nft = match rules::are_needed(&network) {
        true => Some((Nft::start()?, record::open_rules(&network.pin)?)),
        false => None,
    };
    if rules::are_needed(&network) {
        others::admit(&network, file)?;
    }
    let exposing = match network.exposes_localhost {
        Some(_) => Some(in_namespace(&namespace, &host, Nft::start)??),
        None => None,
    };
    if !network.admits.is_empty() {
        admit::start(&network, pid, &namespace, &host)?;
    }
    let mut settings = Settings::start()?;
    let services = match ask::is_needed(&network) {
        // A container restarts without its names rather than not at all.
        true => match Resident::running(&network.pin)? {
            Some(resident) => Some((resident.wish(&network, &namespace, &host)?, resident)),
            None => {
                eprintln!(
                    "firn-network: no process serves names and loopback ports: the next start of a container brings it"
                );
                None
            }
        },
        false => None,
    };
    let runtime = runtime()?;
    let links = Links {
        host: connect(&runtime)?,
        inside: connect_in(&runtime, &namespace, &host)?,
        inside_namespace: namespace.as_fd(),
    };
    lockdown::enter()?;
    runtime.block_on(links.make(&network, &mut settings, |step| record::write(&mut moved, step)))?;
    if let Some((nft, mut steps)) = nft {
        commit(nft, &mut steps, &[], &network)?;
    }
    runtime.block_on(links::set_route_localnet(&links.host, to_localhost(&network), true))?;
    if let Some(nft) = exposing {
        runtime.block_on(expose_localhost(&links.inside, nft, network.exposes_localhost))?;
    }
    services.map_or(Ok(()), |(wish, resident)| resident.serve(&wish))?;
    record::write(&mut times, &Times { began, ended: SystemTime::now() })
}

/// The other containers of the same table, by their messages, which lie beside each other.
fn running_beside(network: &Network, file: &Path) -> Vec<(Network, File)> {
    let (Some(pins), Some(name)) = (network.pin.parent(), file.file_name()) else { return Vec::new() };
    let containers = file.ancestors().nth(2).unwrap_or(Path::new("/"));
    let names = std::fs::read_dir(pins).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let of = |container: std::ffi::OsString| {
        let network = read(&containers.join(container).join(name)).ok()?;
        let namespace = pin::kept(&network.pin).ok()??;
        Some((network, namespace))
    };
    names.filter_map(of).collect()
}

/// Makes the addresses and ports of a container that runs those of the message `new`, which has the same links.
fn change(file: &Path, new: &Path) -> Result<()> {
    let (old, _lock) = read_locked(file)?;
    let new = read(new)?;
    let Some(namespace) = pin::kept(&old.pin)? else {
        bail!("container {}: it has no network now", old.container);
    };
    settings::forward(&new)?;
    let nft = Nft::start()?;
    let before = record::rules(&old.pin)?.unwrap_or_default();
    let mut steps = record::open_rules(&old.pin)?;
    others::admit(&new, file)?;
    let runtime = runtime()?;
    let (own, host) = (pin::own()?, connect(&runtime)?);
    let services = match ask::is_needed(&old) || ask::is_needed(&new) {
        true => {
            let resident = Resident::of(&new.pin)?;
            Some((resident.wish(&new, &namespace, &own)?, resident))
        }
        false => None,
    };
    let exposing = match old.exposes_localhost == new.exposes_localhost {
        true => None,
        false => Some(in_namespace(&namespace, &own, Nft::start)??),
    };
    let inside = connect_in(&runtime, &namespace, &own)?;
    let links = Links { host, inside, inside_namespace: namespace.as_fd() };
    lockdown::enter()?;
    if let Err(error) = runtime.block_on(links.change(&old.veths, &new.veths)) {
        // It goes on with those that it had.
        let back = runtime.block_on(links.change(&new.veths, &old.veths)).err();
        return ending::joined([error].into_iter().chain(back).collect());
    }
    let reaches = |name: &str| to_localhost(&new).any(|other| other == name);
    let gone = to_localhost(&old).filter(|name| !reaches(name));
    runtime.block_on(links::set_route_localnet(&links.host, gone, false))?;
    commit(nft, &mut steps, &before, &new)?;
    runtime.block_on(links::set_route_localnet(&links.host, to_localhost(&new), true))?;
    if let Some(nft) = exposing {
        runtime.block_on(expose_localhost(&links.inside, nft, new.exposes_localhost))?;
    }
    services.map_or(Ok(()), |(wish, resident)| resident.serve(&wish))
}

/// Tells which rules of others drop what the container's options ask for, a line each.
fn blocked(file: &Path) -> Result<()> {
    let network = read(file)?;
    if rules::are_needed(&network) {
        let (listed, text) = (nft::list(&["ruleset"])?, nft::list_as_text()?);
        for line in others::blocked::find(&network, &others::blocked::Rules::new(&listed, &text)) {
            println!("{line}");
        }
    }
    Ok(())
}

/// As with the host's: the setting is on only as long as the rules are there.
async fn expose_localhost(inside: &Handle, nft: Nft, address: Option<Ipv4Addr>) -> Result<()> {
    if address.is_none() {
        links::set_route_localnet(inside, [MAIN].into_iter(), false).await?;
    }
    nft.commit(&rules::inside::exposing_localhost(MAIN, address)).context("exposeLocalhost")?;
    if address.is_some() {
        links::set_route_localnet(inside, [MAIN].into_iter(), true).await?;
    }
    Ok(())
}

fn to_localhost(network: &Network) -> impl Iterator<Item = &str> {
    network.veths.iter().filter(|veth| veth.reaches_localhost).map(|veth| &*veth.host.name)
}

/// Changes the rules of a container from those of `before`, and records what may be there at each time.
fn commit(nft: Nft, steps: &mut File, before: &[Network], new: &Network) -> Result<()> {
    let both: Vec<&Network> = before.iter().chain([new]).collect();
    record::write(steps, &both)?;
    let done = nft.commit(&rules::changed(before, new));
    record::write(steps, &if done.is_ok() { vec![new] } else { before.iter().collect() })?;
    done
}

/// Takes it away, also where only some of it is there.
fn down(file: &Path) -> Result<()> {
    let (network, _lock) = read_locked(file)?;
    take_away(&network, file)
}

/// Interfaces first: rules can be made again, and they can't. The namespace is kept while one is in it.
fn take_away(network: &Network, file: &Path) -> Result<()> {
    let mut errors = Vec::new();
    if let Some(namespace) = pin::kept(&network.pin)? {
        if ask::is_needed(network) {
            errors.extend(ask::forget(network).err());
        }
        let (host, runtime) = (pin::own()?, runtime()?);
        let inside = connect_in(&runtime, &namespace, &host)?;
        let ending = Ending { host: connect(&runtime)?, inside, host_namespace: host.as_fd() };
        errors.extend(runtime.block_on(ending.empty(network, &record::moved(file)?)));
    }
    if errors.is_empty() {
        errors.extend(pin::release(&network.pin).err());
    }
    if record::rules(&network.pin)?.is_some() {
        errors.extend(others::forget(network, file).err());
    }
    errors.extend(ending::remove_rules(network).err());
    ending::joined(errors)
}

/// The message, and the lock under which it is carried out: of all that share its table.
fn read_locked(path: &Path) -> Result<(Network, File)> {
    let lock = pin::lock(&read(path)?.pin)?;
    // It may have been replaced meanwhile.
    Ok((read(path)?, lock))
}

fn read(path: &Path) -> Result<Network> {
    let what = || format!("read {}", path.display());
    let network: Network = serde_json::from_slice(&std::fs::read(path).with_context(what)?).with_context(what)?;
    if network.version != VERSION {
        bail!("{}: version {} is of another firn: its firn-network makes it", path.display(), network.version);
    }
    Ok(network)
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

/// A connection in another one.
fn connect_in(runtime: &Runtime, namespace: &File, host: &File) -> Result<Handle> {
    in_namespace(namespace, host, || connect(runtime))?
}

/// Does it in a network namespace: a socket stays where it was made (network_namespaces(7)).
fn in_namespace<T>(namespace: &File, host: &File, act: impl FnOnce() -> T) -> Result<T> {
    let enter = |namespace: &File| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("enter a network namespace")
    };
    enter(namespace)?;
    let done = act();
    enter(host)?;
    Ok(done)
}
