//! The program `nixos-container`: its verbs, outputs and files, by firnctl's own verbs.
//!
//! A container is what `/etc/nixos-containers/NAME.conf` says, as there; it is installed from that whenever
//! the two differ. Its system is a profile of Nix.

mod conf;
mod system;

use super::access::{self, LoginArgs, RunArgs};
use super::destroy;
use super::inspect::host_key;
use super::install::install;
use super::places::PlaceArgs;
use crate::apply::change;
use crate::apply::stop::{self, How};
use crate::apply::update::Health;
use crate::definition::nix::Options;
use crate::definition::source::Source;
use crate::definition::{self, mistake::Mistakes};
use crate::generation::{self, Container};
use crate::host::Places;
use crate::interrupt;
use crate::view::answer::print;
use crate::view::state::Seen;
use crate::wanted::network::main_link;
use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use conf::ConfArgs;
pub use conf::Confs;
use std::convert::Infallible;
use std::ffi::OsString;
use std::process::ExitCode;
use system::{Profile, SystemArgs};

/// Containers of NixOS, by firnctl.
#[derive(Debug, Parser)]
#[command(name = "nixos-container")]
struct Arguments {
    #[command(flatten)]
    places: PlaceArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the containers.
    List,
    /// Make a container, which is not started.
    Create {
        name: String,
        #[command(flatten)]
        system: SystemArgs,
        #[command(flatten)]
        conf: ConfArgs,
        /// Take NAME-0, NAME-1, … where there is a NAME, and print which.
        #[arg(long)]
        ensure_unique_name: bool,
    },
    Destroy {
        name: String,
    },
    Start {
        name: String,
    },
    Stop {
        name: String,
    },
    Restart {
        name: String,
    },
    Terminate {
        name: String,
    },
    /// Print `up`, `down` or `gone`.
    Status {
        name: String,
    },
    /// Build its system anew, and change to it.
    Update {
        name: String,
        #[command(flatten)]
        system: SystemArgs,
    },
    Login {
        name: String,
    },
    RootLogin {
        name: String,
    },
    /// Run a command as its root.
    Run {
        name: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    ShowIp {
        name: String,
    },
    ShowHostKey {
        name: String,
    },
}

/// Runs it; its exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nixos-container: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// In its words, with its exit status.
fn refuse(error: &clap::Error) -> ExitCode {
    let why = match error.kind() {
        ErrorKind::DisplayHelp => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no action specified".into()
        }
        ErrorKind::InvalidSubcommand => match error.get(clap::error::ContextKind::InvalidSubcommand) {
            Some(action) => format!("unknown action ‘{action}’"),
            None => "unknown action".into(),
        },
        ErrorKind::MissingRequiredArgument if error.to_string().contains("\n  <NAME>\n") => {
            "no container name specified".into()
        }
        _ => {
            let _ = error.print();
            return ExitCode::FAILURE;
        }
    };
    eprintln!("nixos-container: {why}");
    ExitCode::FAILURE
}

fn told(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Mistakes>() {
        Some(mistakes) => mistakes.to_string(),
        None => format!("{error:#}").lines().map(firn::log::printable).collect::<Vec<_>>().join("\n"),
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    arguments.places.become_owner()?;
    interrupt::watch()?;
    let places = arguments.places.places()?;
    let confs = Confs::of(&places);
    let find = |name: &str| installed(name, &places, &confs);
    match &arguments.verb {
        Verb::List => list(&places, &confs),
        Verb::Create { name, system, conf, ensure_unique_name } => {
            create(name, system, conf, *ensure_unique_name, &places, &confs)
        }
        Verb::Destroy { name } => destroy_all(name, &places, &confs),
        Verb::Start { name } => start(&find(name)?).context("failed to start container"),
        Verb::Stop { name } => end(&find(name)?, How::Stop(None)).context("failed to stop container"),
        Verb::Terminate { name } => end(&find(name)?, How::Kill).context("failed to terminate container"),
        Verb::Restart { name } => restart(&find(name)?),
        Verb::Status { name } => match find(name) {
            Ok(container) => print(if Seen::look(&container).word() == "up" { "up\n" } else { "down\n" }),
            Err(error) => {
                print("gone\n")?;
                Err(error)
            }
        },
        Verb::Update { name, system } => update(name, system, &places, &confs),
        Verb::Login { name } => find(name).and_then(|_| access::login(&LoginArgs::of(name), &arguments.places)).map(no),
        Verb::RootLogin { name } => {
            find(name).and_then(|_| access::root_login(&LoginArgs::of(name), &arguments.places)).map(no)
        }
        Verb::Run { name, command } => {
            find(name).and_then(|_| access::run(&RunArgs::of(name, command), &arguments.places)).map(no)
        }
        Verb::ShowIp { name } => show_ip(&find(name)?),
        Verb::ShowHostKey { name } => match host_key(&find(name)?)? {
            Some(key) => print(&key),
            None => bail!("container ‘{name}’ has no host key of SSH"),
        },
    }
}

fn no(never: Infallible) {
    match never {}
}

/// Of the files, and of firnctl's own.
fn list(places: &Places, confs: &Confs) -> Result<()> {
    let mut names = confs.names();
    names.extend(generation::all(places)?.into_iter().map(|container| container.name));
    names.sort();
    names.dedup();
    print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

/// The container as its file says.
fn installed(name: &str, places: &Places, confs: &Confs) -> Result<Container> {
    conf::check_name(name)?;
    let container = Container::new(name, places);
    let wanted = container.wanted()?;
    // One that came from elsewhere, as from the host's configuration, is what that says.
    let is_of_conf = wanted.as_ref().is_none_or(|wanted| wanted.origin.file.as_deref() == Some(&*confs.path(name)));
    if is_of_conf && confs.has(name) {
        install_conf(name, places, confs)?;
    } else if wanted.is_none() {
        bail!("container ‘{name}’ does not exist");
    }
    Ok(container)
}

fn install_conf(name: &str, places: &Places, confs: &Confs) -> Result<()> {
    let loaded = definition::load(&Source::Path(confs.path(name)), &Options::default(), None, places.owner())?;
    install(&loaded, places).map(drop)
}

/// All or nothing.
fn create(
    name: &str,
    system: &SystemArgs,
    conf: &ConfArgs,
    is_unique: bool,
    places: &Places,
    confs: &Confs,
) -> Result<()> {
    conf::check_name(name)?;
    system.check()?;
    let profile = |name: &str| Profile::of(name, places);
    let (name, addresses) = {
        let _lock = generation::lock(&places.lock_file())?;
        let exists = |name: &str| confs.has(name) || Container::new(name, places).exists();
        let mut taken = name.to_owned();
        for number in 0_u32.. {
            if !is_unique || !exists(&taken) {
                break;
            }
            taken = format!("{name}-{number}");
        }
        if exists(&taken) {
            bail!("container ‘{taken}’ already exists");
        }
        if taken.len() > conf::LONGEST {
            bail!("container name ‘{taken}’ is too long");
        }
        let addresses = confs.create(&taken, conf, system, &profile(&taken), places)?;
        (taken, addresses)
    };
    eprintln!("host IP is {}, container IP is {}", addresses.0, addresses.1);
    let container = Container::new(&name, places);
    let made = system
        .make(&container, &profile(&name))
        .map_err(|error| error.context("failed to build initial container configuration"))
        .and_then(|()| install_conf(&name, places, confs));
    if let Err(error) = made {
        remove(&container, confs, places).unwrap_or_else(|left| eprintln!("nixos-container: {left:#}"));
        return Err(error);
    }
    if is_unique { print(&format!("{name}\n")) } else { Ok(()) }
}

/// One that is not there is no error.
fn destroy_all(name: &str, places: &Places, confs: &Confs) -> Result<()> {
    conf::check_name(name)?;
    let container = Container::new(name, places);
    let is_declared = container.wanted().ok().flatten().is_some_and(|wanted| wanted.origin.is_declared);
    if is_declared || confs.is_read_only(name) {
        bail!("cannot destroy declarative container (remove it from your configuration.nix instead)");
    }
    remove(&container, confs, places)
}

fn remove(container: &Container, confs: &Confs, places: &Places) -> Result<()> {
    destroy::destroy(container)?;
    Profile::of(&container.name, places).remove()?;
    confs.remove(&container.name)
}

fn start(container: &Container) -> Result<()> {
    let locked = container.lock()?;
    let wanted = locked.wanted()?.context("it is not installed")?;
    let plan = change::plan(&locked, &wanted.definition)?;
    match plan.action {
        change::Action::Start => change::apply(&locked, plan, Health::default(), &|_| ()).map(drop),
        _ => Ok(()),
    }
}

/// Stops it if it runs, and starts it.
pub fn restart(container: &Container) -> Result<()> {
    end(container, How::Stop(None)).context("failed to stop container")?;
    start(container).context("failed to start container")
}

fn end(container: &Container, how: How) -> Result<()> {
    let locked = container.lock()?;
    stop::stop(&locked, how).map(drop)
}

/// A container that runs changes to what was built.
fn update(name: &str, system: &SystemArgs, places: &Places, confs: &Confs) -> Result<()> {
    system.check()?;
    conf::check_name(name)?;
    let container = Container::new(name, places);
    if !confs.has(name) {
        match container.wanted()? {
            None => bail!("container ‘{name}’ does not exist"),
            // As its system is not built here.
            Some(_) => bail!(
                "container ‘{name}’ has no {}: `firnctl up` or `firnctl update` changes it",
                confs.path(name).display()
            ),
        }
    }
    let flake = confs.flake(name);
    system
        .update(&container, &Profile::of(name, places), flake.as_deref())
        .context("failed to build container configuration")?;
    install_conf(name, places, confs)?;
    if container.connect()?.is_none() {
        return Ok(());
    }
    eprintln!("reloading container...");
    let reload = || {
        let locked = container.lock()?;
        let wanted = locked.wanted()?.context("it is not installed")?;
        let plan = change::plan(&locked, &wanted.definition)?;
        change::apply(&locked, plan, Health::default(), &|_| ()).map(drop)
    };
    reload().context("failed to reload container")
}

fn show_ip(container: &Container) -> Result<()> {
    let wanted = container.wanted()?.context("it is not installed")?;
    let link = main_link(&wanted.definition);
    let address = link.local_address.as_ref().or(link.local_address6.as_ref()).context("cannot get IP address")?;
    print(&format!("{}\n", address.split('/').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_holds_together() {
        <super::Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
