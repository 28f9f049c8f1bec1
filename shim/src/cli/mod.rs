//! The command line: one file a verb.

mod run;

use crate::sys;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use firn::error::{Context, Error, Result};
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "firn-shim", version, about = "Monitor of one container", after_help = run::EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a bundle until it ends, and restart it by its policy
    #[command(
        after_help = run::EXAMPLES,
        after_long_help = format!("{}\n\n{}", run::EXIT_STATUS, run::EXAMPLES),
    )]
    Run(Box<run::Options>),
}

/// The definition of the command line, from which man pages and completions are made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with this process's arguments: the whole of `firn-shim`. It closes all
/// descriptors above 2, so nothing may be open. An error is printed on stderr; the exit code is
/// that of docs/shim.md.
pub fn main() -> ExitCode {
    let run = || {
        sys::reset_inherited().doing(|| "close inherited files")?;
        run_arguments()
    };
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Not eprintln!, which panics where stderr is a pipe that nobody reads.
            let _ = writeln!(std::io::stderr(), "firn-shim: error: {}", firn::log::printable(&error.chain()));
            ExitCode::FAILURE
        }
    }
}

fn run_arguments() -> Result<u8> {
    match Cli::try_parse() {
        Ok(Cli { verb: Verb::Run(options) }) => run::run(&options),
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Error::new("a command is needed, see firn-shim --help"))
        }
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            Err(Error::new(text.trim_start_matches("error: ").trim_end()))
        }
        // --help or --version. A pipe that is closed early (`--help | head`) is no failure.
        Err(help) => {
            let _ = std::io::stdout().write_all(help.to_string().as_bytes());
            Ok(0)
        }
    }
}
