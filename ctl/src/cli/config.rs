//! `firnctl config`: definitions, looked at without a container being touched.

use super::output::print;
use super::source::SourceArgs;
use crate::definition::mistake::{Mistake, Mistakes};
use crate::definition::nix::Depth;
use crate::definition::{self, structure};
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
        /// Print the mistakes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the containers that the definitions make: instances apart, paths absolute.
    Show {
        #[command(flatten)]
        source: SourceArgs,
        /// Print JSON instead of TOML.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of definitions.
    Schema,
}

/// Runs the verb.
pub fn run(arguments: &ConfigArgs) -> Result<()> {
    match &arguments.command {
        ConfigCommand::Check { source, json } => check(source, *json),
        ConfigCommand::Show { source, json } => show(source, *json),
        ConfigCommand::Schema => print(&format!("{:#}\n", structure::schema())),
    }
}

fn check(source: &SourceArgs, as_json: bool) -> Result<()> {
    let loaded = source.load(Depth::Evaluated);
    if as_json {
        let mistakes = match &loaded {
            Ok(_) => vec![],
            Err(error) => match error.downcast_ref::<Mistakes>() {
                Some(mistakes) => mistakes.list().iter().map(mistake_json).collect(),
                // What could not be read at all is an error, not a mistake.
                None => return loaded.map(drop),
            },
        };
        print(&format!("{:#}\n", Value::Array(mistakes)))?;
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

fn show(source: &SourceArgs, as_json: bool) -> Result<()> {
    let loaded = source.load(Depth::Evaluated)?;
    let containers = loaded.instances.into_iter().map(|instance| (instance.name, instance.definition));
    let project = definition::schema::Project { schema: None, containers: containers.collect() };
    let text = match as_json {
        true => format!("{:#}\n", serde_json::to_value(&project).context("write the definitions as JSON")?),
        false => toml::to_string_pretty(&project).context("write the definitions as TOML")?,
    };
    print(&text)
}
