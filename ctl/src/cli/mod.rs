//! The command line: one file for each verb. Exit status: 0 done, 1 error, 2 usage.

mod config;
mod output;

use crate::definition::mistake::Mistakes;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Containers by definition.
#[derive(Debug, Parser)]
#[command(name = "firnctl", version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Config(config::ConfigArgs),
}

/// The command line itself, for man pages and completions.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the verb, and prints what went wrong.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Config(arguments) => config::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", shown(&error));
            ExitCode::FAILURE
        }
    }
}

/// Mistakes as an editor finds them, a line each; other errors as a chain.
fn shown(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Mistakes>() {
        Some(mistakes) => {
            let count = mistakes.list().len();
            format!("{mistakes}\nfirnctl: {count} mistake{}", if count == 1 { "" } else { "s" })
        }
        None => format!("firnctl: {error:#}"),
    }
}
