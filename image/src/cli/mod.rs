//! The command line: one module for each verb.

pub mod bundle;

pub mod inspect;

use clap::{Parser, Subcommand};

/// Builds bundles from Nix closures and layers of root file systems.
#[derive(Debug, Parser)]
#[command(name = "firn-image", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bundle(Box<bundle::BundleArgs>),
    Inspect(inspect::InspectArgs),
}

/// The command line's definition, from which man pages and completions are made.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the process's arguments and does what they say.
pub fn run() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Bundle(args) => bundle::run(*args),
        Verb::Inspect(args) => inspect::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
