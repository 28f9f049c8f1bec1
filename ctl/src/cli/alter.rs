//! `firnctl port`, `bind` and `limit`: one option of a container is changed, in what is installed and in what
//! runs, without a restart.

use super::install::tell_host;
use super::life::{NameArgs, update_to_installed};
use super::places::{PlaceArgs, find};
use crate::apply::change::{self, Action};
use crate::apply::update::Health;
use crate::definition::schema::{BindMount, Definition, ForwardPort, OnByDefault, Protocol, Size};
use crate::definition::{self, paths, values};
use crate::difference::Change;
use crate::generation::{Container, Wanted};
use crate::view::answer::{Form, json_of};
use crate::wanted::mounts::{self, Mount};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::net::IpAddr;

const PORT_EXAMPLES: &str = "\
Examples:
  firnctl port web                          ports of the host that lead into it
  firnctl port web add 8080:80              the host's 8080 leads to its 80
  firnctl port web add 127.0.0.1:53:53/udp  on one address of the host
  firnctl port web rm 8080                  and no more
";

const BIND_EXAMPLES: &str = "\
Examples:
  firnctl bind web                          what of the host it sees
  firnctl bind web add ./data:/data         writable
  firnctl bind web add /etc/ssl:/etc/ssl:ro
  firnctl bind web rm /data
";

const LIMIT_EXAMPLES: &str = "\
Examples:
  firnctl limit web                         its limits
  firnctl limit web memory=1G cpus=1.5
  firnctl limit web pids=none
";

/// List, add or remove ports of the host that lead into a container.
///
/// The file of its definition is not changed. The container's own ports stay until `firnctl reset`.
#[derive(Debug, Args)]
#[command(after_help = PORT_EXAMPLES)]
pub struct PortArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    verb: Option<PortVerb>,
}

#[derive(Debug, Subcommand)]
enum PortVerb {
    /// Add ports.
    Add {
        #[arg(required = true, value_name = "[ADDRESS:]HOST[:CONTAINER][/PROTOCOL]", value_parser = port)]
        ports: Vec<ForwardPort>,
    },
    /// Remove those of these ports of the host.
    #[command(visible_alias = "remove")]
    Rm {
        #[arg(required = true, value_name = "[ADDRESS:]HOST[:CONTAINER][/PROTOCOL]", value_parser = port)]
        ports: Vec<ForwardPort>,
    },
}

/// List, add or remove files and directories of the host that a container sees.
///
/// The file of its definition is not changed. The container's own binds stay until `firnctl reset`.
#[derive(Debug, Args)]
#[command(after_help = BIND_EXAMPLES)]
pub struct BindArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    verb: Option<BindVerb>,
}

#[derive(Debug, Subcommand)]
enum BindVerb {
    /// Add binds.
    Add {
        #[arg(required = true, value_name = "SOURCE[:MOUNT POINT][:ro]")]
        binds: Vec<String>,
    },
    /// Remove those at these places.
    #[command(visible_alias = "remove")]
    Rm {
        #[arg(required = true, value_name = "MOUNT POINT")]
        places: Vec<String>,
    },
}

/// Show or change the limits of a container.
///
/// The file of its definition is not changed. The container's own limits stay until `firnctl reset`.
#[derive(Debug, Args)]
#[command(after_help = LIMIT_EXAMPLES)]
pub struct LimitArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
    /// `memory`, `cpus` or `pids` with a value, or with `none`.
    #[arg(value_name = "LIMIT=VALUE")]
    limits: Vec<String>,
}

/// Lists or changes ports.
pub fn ports(arguments: &PortArgs, places: &PlaceArgs) -> Result<()> {
    let shown = |definition: &Definition| {
        let of = |port: &ForwardPort| {
            let host = port.host_address.clone().unwrap_or_else(|| "*".into());
            let protocol = format!("{:?}", port.protocol).to_lowercase();
            let inside = port.container_port.unwrap_or(port.host_port);
            format!("{host}:{} -> {inside}/{protocol}\n", port.host_port)
        };
        let ports = &definition.link.forward_ports;
        Ok((json_of(ports)?, ports.iter().map(of).collect()))
    };
    alter(&arguments.name, arguments.form, places, arguments.verb.as_ref(), shown, |definition, verb| {
        let all = &mut definition.link.forward_ports;
        match verb {
            PortVerb::Add { ports } => {
                for port in ports {
                    let key = |port: &ForwardPort| (port.protocol, port.host_port, port.host_address.clone());
                    // One that is there gets another target.
                    all.retain(|other| key(other) != key(port));
                    all.push(port.clone());
                }
            }
            PortVerb::Rm { ports } => {
                for port in ports {
                    let before = all.len();
                    all.retain(|other| !is_meant(port, other));
                    if all.len() == before {
                        bail!("port {}: it has none; `firnctl port {}` lists them", port.host_port, arguments.name);
                    }
                }
            }
        }
        Ok(())
    })
}

/// What is not said may be anything.
fn is_meant(said: &ForwardPort, port: &ForwardPort) -> bool {
    let fits = |said: &Option<String>, own: &Option<String>| said.is_none() || said == own;
    said.host_port == port.host_port
        && said.protocol == port.protocol
        && fits(&said.host_address, &port.host_address)
        && said.container_port.is_none_or(|inside| port.container_port.unwrap_or(port.host_port) == inside)
}

/// As podman and docker have it.
fn port(text: &str) -> Result<ForwardPort, String> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(format!("{other:?} is no protocol: tcp, udp or sctp")),
    };
    let (host_address, rest) = match text.strip_prefix('[').and_then(|text| text.split_once("]:")) {
        Some((address, rest)) => (Some(address), rest),
        None if text.matches(':').count() >= 2 => text.split_once(':').map_or((None, text), |(a, b)| (Some(a), b)),
        // ADDRESS:HOST
        None if text.contains('.') => text.split_once(':').map_or((None, text), |(a, b)| (Some(a), b)),
        None => (None, text),
    };
    if let Some(address) = host_address
        && address.parse::<IpAddr>().is_err()
    {
        return Err(format!("{address:?} is no address; one of IPv6 stands in [ ]"));
    }
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is no port: a number from 1 to 65535")),
    };
    let (host, inside) = rest.split_once(':').map_or((rest, None), |(host, inside)| (host, Some(inside)));
    Ok(ForwardPort {
        protocol,
        host_port: number(host)?,
        container_port: inside.map(number).transpose()?,
        host_address: host_address.map(String::from),
    })
}

/// Lists or changes binds.
pub fn binds(arguments: &BindArgs, places: &PlaceArgs) -> Result<()> {
    let shown = |definition: &Definition| {
        let mounts = mounts::of(definition).into_iter().filter(|mount| mount.kind == "bind");
        let is_read_only = |mount: &Mount| mount.options.iter().any(|option| option == "rro");
        let text = |mount: &Mount| {
            let access = if is_read_only(mount) { "ro" } else { "rw" };
            format!("{} -> {} {access}\n", mount.source, mount.destination)
        };
        let json = |mount: &Mount| json!({"hostPath": mount.source, "mountPoint": mount.destination, "isReadOnly": is_read_only(mount)});
        let mounts: Vec<Mount> = mounts.collect();
        Ok((mounts.iter().map(json).collect(), mounts.iter().map(text).collect()))
    };
    alter(&arguments.name, arguments.form, places, arguments.verb.as_ref(), shown, |definition, verb| {
        match verb {
            BindVerb::Add { binds } => {
                for text in binds {
                    let (text, is_read_only) = match text.strip_suffix(":ro") {
                        Some(text) => (text, true),
                        None => (text.strip_suffix(":rw").unwrap_or(text), false),
                    };
                    let (source, place) = values::volume(text).map_err(anyhow::Error::msg)?;
                    let bind = BindMount {
                        host_path: Some(source.to_owned()),
                        is_read_only: OnByDefault(is_read_only),
                        ..BindMount::default()
                    };
                    let place = place.unwrap_or(source).to_owned();
                    remove_bind(definition, &place);
                    definition.bind_mounts.insert(place, bind);
                }
            }
            BindVerb::Rm { places } => {
                for place in places {
                    if !remove_bind(definition, place) {
                        bail!("bind {place}: it has none; `firnctl bind {}` lists them", arguments.name);
                    }
                }
            }
        }
        // Relative ones count from here.
        let here = std::env::current_dir().context("find the working directory")?;
        *definition = paths::of_definition(definition.clone(), &here);
        Ok(())
    })
}

/// Whether there was one.
fn remove_bind(definition: &mut Definition, place: &str) -> bool {
    let count =
        |definition: &Definition| definition.bind_mounts.len() + definition.volumes.len() + definition.volumes_ro.len();
    let before = count(definition);
    definition.bind_mounts.retain(|name, bind| bind.mount_point.as_ref().unwrap_or(name) != place);
    let is_other =
        |text: &String| values::volume(text).map_or(true, |(source, other)| other.unwrap_or(source) != place);
    definition.volumes.retain(is_other);
    definition.volumes_ro.retain(is_other);
    count(definition) < before
}

/// Shows or changes limits.
pub fn limits(arguments: &LimitArgs, places: &PlaceArgs) -> Result<()> {
    let shown = |definition: &Definition| {
        let memory = match &definition.memory {
            Some(Size::Bytes(bytes)) => bytes.to_string(),
            Some(Size::Text(text)) => text.clone(),
            None => "none".into(),
        };
        let cpus = definition.cpus.map_or("none".into(), |cpus| cpus.to_string());
        let pids = definition.pids.map_or("none".into(), |pids| pids.to_string());
        let json = json!({"memory": definition.memory, "cpus": definition.cpus, "pids": definition.pids});
        Ok((json, format!("memory={memory}\ncpus={cpus}\npids={pids}\n")))
    };
    let wanted = (!arguments.limits.is_empty()).then_some(&arguments.limits);
    alter(&arguments.name, arguments.form, places, wanted, shown, |definition, limits| {
        for limit in limits {
            let (name, value) = limit.split_once('=').with_context(|| format!("{limit:?}: give LIMIT=VALUE"))?;
            let value = (value != "none").then_some(value);
            match name {
                "memory" => definition.memory = value.map(|text| Size::Text(text.into())),
                "cpus" => definition.cpus = number(name, value)?,
                "pids" => definition.pids = number(name, value)?,
                _ => bail!("{name:?} is no limit: memory, cpus or pids"),
            }
        }
        Ok(())
    })
}

fn number<T: std::str::FromStr>(name: &str, value: Option<&str>) -> Result<Option<T>> {
    let parse = |text: &str| text.parse().ok().with_context(|| format!("{name}={text}: give a number, or none"));
    value.map(parse).transpose()
}

/// Prints what is, or changes it: first checked as a whole, then installed, then applied.
fn alter<T>(
    name: &str,
    form: Form,
    places: &PlaceArgs,
    wanted: Option<&T>,
    shown: impl Fn(&Definition) -> Result<(Value, String)>,
    act: impl FnOnce(&mut Definition, &T) -> Result<()>,
) -> Result<()> {
    places.become_owner()?;
    let container = find(&places.places()?, name)?;
    let installed = container.wanted()?.with_context(|| format!("container {name}: is not installed"))?;
    let Some(wanted) = wanted else {
        let (json, text) = shown(&installed.definition)?;
        return form.answer(|| Ok(json), || text);
    };
    let mut definition = installed.definition.clone();
    act(&mut definition, wanted)?;
    definition::check_one(name, &definition, container.places().owner())?;
    if let Action::Change(Change::Restart(options)) | Action::Pending(Change::Restart(options)) =
        change::plan(&container, &definition)?.action
    {
        bail!("container {name}: {} can't be changed while it runs: change its definition", options.join(", "));
    }
    install(&container, &installed.changed(definition)?, places)
}

/// Brings containers back to what their files say.
pub fn reset(arguments: &NameArgs, places: &PlaceArgs) -> Result<()> {
    for container in arguments.find(places)? {
        let Some(installed) = container.wanted()? else { continue };
        if !installed.overridden().is_empty() {
            let written = Wanted::new(installed.written().clone(), installed.origin);
            install(&container, &written, places)?;
        }
    }
    Ok(())
}

/// Installs it, and changes the container if it runs.
fn install(container: &Container, wanted: &Wanted, places: &PlaceArgs) -> Result<()> {
    container.lock()?.install(wanted)?;
    tell_host(container.places())?;
    if container.connect()?.is_some() {
        update_to_installed(&NameArgs::of(&container.name), places, Health::default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_with_podman() {
        let told = |text: &str| {
            port(text).map(|port| {
                format!("{:?} {:?} {} {:?}", port.protocol, port.host_address, port.host_port, port.container_port)
            })
        };
        for (text, expected) in [
            ("8080", "Tcp None 8080 None"),
            ("8080:80", "Tcp None 8080 Some(80)"),
            ("53:5353/udp", "Udp None 53 Some(5353)"),
            ("127.0.0.1:8080:80", "Tcp Some(\"127.0.0.1\") 8080 Some(80)"),
            ("127.0.0.1:8080", "Tcp Some(\"127.0.0.1\") 8080 None"),
            ("[::1]:8080:80", "Tcp Some(\"::1\") 8080 Some(80)"),
        ] {
            assert_eq!(told(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "0", "65536", "80/icmp", "a:80", "1:2:3", "x.y:80", "::1:80:80", "80:"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }
}
