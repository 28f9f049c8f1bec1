//! `firnctl config`: definitions, looked at without a container being touched.

use super::places::PlaceArgs;
use super::source::SourceArgs;
use crate::definition::conf;
use crate::definition::instances::Instance;
use crate::definition::mistake::{Mistake, Mistakes};
use crate::definition::nix::Depth;
use crate::definition::nix::{Options, store};
use crate::definition::source::Source;
use crate::definition::{self, structure};
use crate::host::Owner;
use crate::view::answer::{Form, json_of, print, print_json};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  firnctl config check                          the firn.toml here or above
  firnctl config check web.json                 as an editor or CI calls it
  firnctl config show --json | jq .containers   as firn understands it
  firnctl config check -E '{ containers.web.rootFS = [ ./root ]; }'
  firnctl config import > firn.toml             what nixos-container has made
  firnctl config build web.nix                  its systems; `firnctl create` takes what is printed
  firnctl config schema > firn.schema.json      for an editor
";

/// Check and show definitions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell every mistake, each with its file, line and column.
    Check {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        form: Form,
    },
    /// Print the containers that the definitions make, as TOML: instances apart, paths absolute.
    Show {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        form: Form,
    },
    /// Build the systems of the definitions, and print a file of the Nix store that has the containers and keeps
    /// their systems; as JSON the containers. Nothing is installed.
    Build {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        form: Form,
    },
    /// Print the definitions of containers that nixos-container or NixOS have made, as TOML: those of
    /// /etc/nixos-containers, or of the files or directories given.
    Import {
        /// Files NAME.conf, or directories of them.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        form: Form,
    },
    /// Print the JSON Schema of definitions.
    Schema,
}

/// Runs the verb.
pub fn run(arguments: &ConfigArgs, places: &PlaceArgs) -> Result<()> {
    match &arguments.command {
        ConfigCommand::Check { source, form } => check(source, *form, places.owner()?),
        ConfigCommand::Show { source, form } => show(source, *form, places.owner()?),
        ConfigCommand::Build { source, form } => build(source, *form, places),
        ConfigCommand::Import { files, form } => import(files, *form),
        ConfigCommand::Schema => print_json(&structure::schema()),
    }
}

fn check(source: &SourceArgs, form: Form, owner: Owner) -> Result<()> {
    let loaded = source.load(Depth::Evaluated, owner);
    if form.json {
        let mistakes = match &loaded {
            Ok(_) => vec![],
            Err(error) => match error.downcast_ref::<Mistakes>() {
                Some(mistakes) => mistakes.list().iter().map(mistake_json).collect(),
                // What could not be read at all is an error, not a mistake.
                None => return loaded.map(drop),
            },
        };
        print_json(&Value::Array(mistakes))?;
        return loaded.map(drop);
    }
    let loaded = loaded?;
    let count = loaded.instances.len();
    print(&format!("{}: {count} container{}, no mistakes\n", loaded.origin, if count == 1 { "" } else { "s" }))
}

fn mistake_json(mistake: &Mistake) -> Value {
    json!({
        "file": mistake.origin,
        "line": mistake.position.map(|position| position.line),
        "column": mistake.position.map(|position| position.column),
        "option": mistake.object,
        "message": mistake.message,
    })
}

fn show(source: &SourceArgs, form: Form, owner: Owner) -> Result<()> {
    print_definitions(source.load(Depth::Evaluated, owner)?.instances, form)
}

fn print_definitions(instances: Vec<Instance>, form: Form) -> Result<()> {
    let containers = instances.into_iter().map(|instance| (instance.name, instance.definition));
    let project = definition::schema::Project { schema: None, containers: containers.collect() };
    match form.json {
        true => print_json(&json_of(&project)?),
        false => print(&toml::to_string_pretty(&project).context("write the definitions as TOML")?),
    }
}

fn build(source: &SourceArgs, form: Form, places: &PlaceArgs) -> Result<()> {
    // What root has evaluated is kept.
    let loaded = match nix::unistd::geteuid().is_root() {
        true => source.load_for(Depth::Built, places)?,
        false => source.load(Depth::Built, places.owner()?)?,
    };
    match form.json {
        true => print_definitions(loaded.instances, form),
        false => print(&format!("{}\n", store::add(&loaded)?.display())),
    }
}

/// Where nixos-container and NixOS have their files, the newer place first.
const CONFS: [&str; 2] = ["/etc/nixos-containers", "/etc/containers"];

fn import(files: &[PathBuf], form: Form) -> Result<()> {
    let usual = || CONFS.iter().map(Path::new).filter(|path| path.is_dir()).map(Path::to_owned).collect();
    let places: Vec<PathBuf> = if files.is_empty() { usual() } else { files.to_vec() };
    let mut sources = Vec::new();
    for place in &places {
        match place.is_dir() {
            true => sources.extend(conf::names(place).into_iter().map(|(path, _)| path)),
            false => sources.push(place.clone()),
        }
    }
    if sources.is_empty() {
        bail!("there are no containers of nixos-container: neither {} has a NAME.conf", CONFS.join(" nor "));
    }
    let mut mistakes = Vec::new();
    let mut instances: Vec<Instance> = Vec::new();
    for source in sources {
        match definition::load(&Source::Path(source), &Options::default(), None, Owner::Root) {
            // In both places it is the newer one's.
            Ok(loaded) => {
                let new = loaded.instances.into_iter();
                instances
                    .extend(new.filter(|new| !instances.iter().any(|old| old.name == new.name)).collect::<Vec<_>>());
            }
            Err(error) => match error.downcast::<Mistakes>() {
                Ok(found) => mistakes.extend(found.list().iter().cloned()),
                Err(error) => return Err(error),
            },
        }
    }
    match Mistakes::new(mistakes) {
        Some(mistakes) => Err(mistakes.into()),
        None => print_definitions(instances, form),
    }
}
