//! `firnctl config`: definitions, looked at without a container being touched.

use super::source::SourceArgs;
use crate::definition::mistake::{Mistake, Mistakes};
use crate::definition::nix::Depth;
use crate::definition::{self, structure};
use crate::view::answer::{Form, json_of, print, print_json};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  firnctl config check                          the firn.toml here or above
  firnctl config check web.json                 as an editor or CI calls it
  firnctl config show --json | jq .containers   as firn understands it
  firnctl config check -E '{ containers.web.rootFS = [ ./root ]; }'
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
    /// Print the JSON Schema of definitions.
    Schema,
}

/// Runs the verb.
pub fn run(arguments: &ConfigArgs) -> Result<()> {
    match &arguments.command {
        ConfigCommand::Check { source, form } => check(source, *form),
        ConfigCommand::Show { source, form } => show(source, *form),
        ConfigCommand::Schema => print_json(&structure::schema()),
    }
}

fn check(source: &SourceArgs, form: Form) -> Result<()> {
    let loaded = source.load(Depth::Evaluated);
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

fn show(source: &SourceArgs, form: Form) -> Result<()> {
    let loaded = source.load(Depth::Evaluated)?;
    let containers = loaded.instances.into_iter().map(|instance| (instance.name, instance.definition));
    let project = definition::schema::Project { schema: None, containers: containers.collect() };
    match form.json {
        true => print_json(&json_of(&project)?),
        false => print(&toml::to_string_pretty(&project).context("write the definitions as TOML")?),
    }
}
