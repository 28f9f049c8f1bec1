//! The program `extra-container`: its verbs and outputs, by firnctl's own verbs. Those that it has not are
//! nixos-container's.

use super::destroy::destroy_all;
use super::install::install;
use super::nixos_container::{self, Confs, restart};
use super::places::PlaceArgs;
use super::shell::{self, ShellArgs};
use super::source::SourceArgs;
use super::together::{self, Failures, Plans};
use crate::apply::change::{Action, Plan};
use crate::apply::update::Health;
use crate::definition::Loaded;
use crate::definition::mistake::Mistakes;
use crate::definition::nix::{Depth, store};
use crate::difference::Change;
use crate::generation::{self, Container, Origin};
use crate::host::Places;
use crate::interrupt;
use crate::view::answer::print;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Containers of NixOS without a rebuild of the host, by firnctl.
#[derive(Debug, Parser)]
#[command(name = "extra-container", after_help = "All other verbs are those of nixos-container.")]
struct Arguments {
    #[command(flatten)]
    places: PlaceArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build and install containers.
    #[command(alias = "add")]
    Create(CreateArgs),
    /// Build them, and print the store path that `create` takes.
    Build {
        #[command(flatten)]
        source: SourceArgs,
    },
    /// Open a shell with a container that is thrown away.
    Shell {
        #[command(flatten)]
        shell: ShellArgs,
        #[command(flatten)]
        more: ChangeArgs,
    },
    /// List the containers.
    List,
    Restart {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Destroy containers: by their names, all by --all, or those of a definition, which begins with `.`, `/`, or `-`.
    Destroy {
        #[arg(value_name = "NAME", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    changes: ChangeArgs,
}

/// What is done with those that are installed.
#[derive(Debug, Args)]
struct ChangeArgs {
    /// Start them, and change those that run.
    #[arg(long, short)]
    start: bool,
    /// Change those that run; start none.
    #[arg(long, short)]
    update_changed: bool,
    /// Restart those that run and have changed.
    #[arg(long, short)]
    restart_changed: bool,
}

/// The store path of a flake's containers.
const ETC: &str = "EXTRA_CONTAINER_ETC";

/// Its own verbs; all others are nixos-container's.
const VERBS: [&str; 10] = ["create", "add", "build", "shell", "list", "restart", "destroy", "help", "-h", "--help"];
/// Options before the verb.
const PLACES: [&str; 5] = ["--state-dir", "--run-dir", "--hosts-file", "--authorized-keys", "--project"];

/// Runs it; its exit status.
pub fn main(mut words: Vec<OsString>) -> ExitCode {
    match verb(&words) {
        Some(verb) if !VERBS.iter().any(|own| verb == own) => return nixos_container::main(words),
        Some(_) => {}
        None => words = vec!["extra-container".into(), "--help".into()],
    }
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            match error.downcast_ref::<Mistakes>() {
                Some(mistakes) => eprintln!("{mistakes}"),
                None => eprintln!("extra-container: {}", printable(&error)),
            }
            ExitCode::from(error.downcast_ref::<Failures>().map_or(1, |failures| failures.code))
        }
    }
}

/// The first word that is no option of places, or its value.
fn verb(words: &[OsString]) -> Option<&OsString> {
    let mut rest = words.iter().skip(1);
    loop {
        let word = rest.next()?;
        match PLACES.iter().any(|option| word == option) {
            true => drop(rest.next()),
            false if word == "--rootless" => {}
            false => return Some(word),
        }
    }
}

fn printable(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(firn::log::printable).collect::<Vec<_>>().join("\n")
}

fn run(arguments: Arguments) -> Result<u8> {
    arguments.places.become_owner()?;
    let places = &arguments.places;
    match arguments.verb {
        Verb::Create(create_arguments) => create(create_arguments, places).map(|()| 0),
        Verb::Build { source } => build(source, places).map(|()| 0),
        Verb::Shell { mut shell, .. } => {
            shell.says_on_stdout = true;
            if !shell.source.is_named() {
                bail!("reading the container config from standard input is not supported for command 'shell'");
            }
            eprintln!("Building containers...");
            shell::run(&mut shell, places)
        }
        Verb::List => list(&places.places()?).map(|()| 0),
        Verb::Restart { names } => {
            interrupt::watch()?;
            let places = places.places()?;
            names.iter().try_for_each(|name| restart(&super::places::find(&places, name)?)).map(|()| 0)
        }
        Verb::Destroy { words } => destroy_named(words, places).map(|()| 0),
    }
}

/// Builds what is named, or read from standard input.
fn load(mut source: SourceArgs, places: &PlaceArgs, depth: Depth) -> Result<Loaded> {
    if !source.is_named() {
        source.name(std::env::var_os(ETC).map_or("-".into(), Into::into));
    }
    if depth == Depth::Built && !source.is_built() {
        eprintln!("Building containers...");
    }
    source.load_for(depth, places)
}

fn build(source: SourceArgs, places: &PlaceArgs) -> Result<()> {
    let loaded = load(source, places, Depth::Built)?;
    print(&format!("{}\n", store::add(&loaded)?.display()))
}

fn create(arguments: CreateArgs, places: &PlaceArgs) -> Result<()> {
    let CreateArgs { source, changes } = arguments;
    interrupt::watch()?;
    let loaded = load(source, places, Depth::Built)?;
    let places = places.places()?;
    if loaded.instances.is_empty() {
        eprintln!("No containers in {}", loaded.origin);
        return Ok(());
    }
    let mut installed = Vec::new();
    for instance in &loaded.instances {
        let container = Container::new(&instance.name, &places);
        let before = container.wanted()?;
        let after = container.with_overrides(instance.definition.clone(), Origin::default())?;
        installed.push(before.is_some_and(|before| before.definition == after.definition));
    }
    let containers = install(&loaded, &places)?;
    let plans = together::plans(&containers)?;
    let mut text = String::from("\nInstalling containers:\n");
    for (container, was_there) in containers.iter().zip(installed) {
        // What was installed and is not what runs is still to be done.
        let is_done = plans.get(&container.name).is_some_and(|(_, plan)| is_unchanged(plan));
        let note = if was_there && is_done { " (unchanged, skipped)" } else { "" };
        text += &format!("{}{note}\n", container.name);
    }
    print(&(text + "\n"))?;
    change(plans, &changes, &containers)
}

/// Nothing of it that runs has to change.
fn is_unchanged(plan: &Plan) -> bool {
    matches!(plan.action, Action::Start | Action::Change(Change::Unchanged))
}

/// Starts, updates and restarts, in this order; what fails keeps none of the others.
fn change(plans: Plans, changes: &ChangeArgs, containers: &[Container]) -> Result<()> {
    let (mut starts, mut updates, mut restarts) = (Plans::new(), Plans::new(), Plans::new());
    for (name, (container, mut plan)) in plans {
        plan.restarts_always = changes.restart_changed;
        let group = match &plan.action {
            Action::Start if changes.start => &mut starts,
            Action::Change(Change::Restart(_)) => &mut restarts,
            Action::Change(Change::Live(_) | Change::Update { .. }) if changes.restart_changed => &mut restarts,
            Action::Change(Change::Live(_) | Change::Update { .. }) => &mut updates,
            _ => continue,
        };
        group.insert(name, (container, plan));
    }
    if !(changes.start || changes.update_changed || changes.restart_changed) {
        return Ok(());
    }
    let mut result = Ok(());
    for (title, group) in [("Starting", starts), ("Updating", updates), ("Restarting", restarts)] {
        if group.is_empty() {
            continue;
        }
        let names: String = group.keys().map(|name| format!("{name}\n")).collect();
        print(&format!("{title} containers:\n{names}\n"))?;
        let waits = together::waits(containers).into_iter().filter(|(name, _)| group.contains_key(name)).collect();
        let done = together::apply(&group, &waits, Health::default());
        result = result.and(done);
    }
    result
}

/// Neither those of the host's configuration nor nixos-container's.
fn list(places: &Places) -> Result<()> {
    print(&extra(places)?.iter().map(|container| format!("{}\n", container.name)).collect::<String>())
}

fn extra(places: &Places) -> Result<Vec<Container>> {
    let confs = Confs::of(places);
    let mut all = generation::all(places)?;
    all.retain(|container| {
        let is_declared = container.wanted().ok().flatten().is_some_and(|wanted| wanted.origin.is_declared);
        !is_declared && !confs.has(&container.name)
    });
    Ok(all)
}

fn destroy_named(words: Vec<String>, places: &PlaceArgs) -> Result<()> {
    /// A definition, as `create` takes it.
    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Definition {
        #[command(flatten)]
        source: SourceArgs,
    }
    let all_places = places.places()?;
    let containers = match words.first().map(String::as_str) {
        None => bail!("No container name specified"),
        Some("--all" | "-a") => extra(&all_places)?,
        Some(first) if first.starts_with(['.', '/', '-']) => {
            let source = Definition::try_parse_from(&words).map_err(|error| anyhow::anyhow!("{error}"))?.source;
            let loaded = load(source, places, Depth::Names)?;
            loaded.instances.iter().map(|instance| Container::new(&instance.name, &all_places)).collect()
        }
        Some(_) => {
            words
                .iter()
                .try_for_each(|name| firn::state::check_id(name).with_context(|| format!("container {name}")))?;
            words.iter().map(|name| Container::new(name, &all_places)).collect()
        }
    };
    let errors: Vec<String> = destroy_all(&containers, &all_places).iter().map(|error| format!("{error:#}")).collect();
    if errors.is_empty() { Ok(()) } else { bail!("{}", errors.join("\nextra-container: ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn verbs_are_found_behind_options_of_places() {
        let verb_of = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            verb(&words).map(|verb| verb.to_string_lossy().into_owned())
        };
        assert_eq!(verb_of(&["x", "--state-dir", "list", "run", "web", "create"]).as_deref(), Some("run"));
        assert_eq!(verb_of(&["x", "-h"]).as_deref(), Some("-h"));
        assert_eq!(verb_of(&["x"]), None);
    }
}
