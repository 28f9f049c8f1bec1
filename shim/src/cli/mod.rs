//! The command line: one file a verb.

mod adopt;
mod attach;
mod control;
mod exec;
mod keep;
mod run;
mod session;
mod told;

use crate::sys;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use firn::error::{Context, Error, Result};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

const ATTACH_EXAMPLES: &str = "\
Examples:
  firn-shim attach web
      until it ends; Ctrl-P Ctrl-Q detach from a terminal
  firn-shim attach --no-stdin web | grep error
  echo reload | firn-shim attach web
      a container that was run with --stdin; the end of the input is its end there";

const ADOPT_STATUS: &str = "\
Exit status: 0 when a monitor runs the container, the one that there is or a new one
in the background; 3 when there is nothing to take over; 1 on errors.";

const EXEC_EXAMPLES: &str = "\
Examples:
  firn-shim exec web cat /etc/os-release
  firn-shim exec --tty web sh
  tar -c site | firn-shim exec --user 33:33 --cwd /srv web tar -x";

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
    /// Give a container whose monitor was killed another one
    #[command(after_help = ADOPT_STATUS)]
    Adopt(adopt::Options),
    /// See the output of a container, and type into it
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(attach::Options),
    /// Run a further process in a container
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(exec::Options),
    /// Show what a container does
    Status(control::StatusOptions),
    /// Stop a container, and wait for its end
    Stop(control::StopOptions),
    /// Kill a container, or send its init a signal
    Kill(control::KillOptions),
    /// Stop a container and start it again, and wait until it is ready
    Restart(control::TargetOptions),
    /// Open a container's logs anew, after another program has moved them
    ReopenLogs(control::TargetOptions),
    /// Start the process that holds the descriptors of containers, as monitors do by themselves
    Keep(keep::Options),
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
        let inherited = sys::reset_inherited().doing(|| "close inherited files")?;
        run_arguments(inherited)
    };
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            told::tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// `inherited`: what a service manager has passed.
fn run_arguments(inherited: Vec<OwnedFd>) -> Result<u8> {
    match Cli::try_parse() {
        Ok(Cli { verb }) => match verb {
            Verb::Run(options) => run::run(&options, inherited),
            Verb::Adopt(options) => adopt::run(&options),
            Verb::Attach(options) => attach::run(&options),
            Verb::Exec(options) => Ok(exec::run(&options)),
            Verb::Status(options) => control::status(&options),
            Verb::Stop(options) => control::stop(&options),
            Verb::Kill(options) => control::kill(&options),
            Verb::Restart(options) => control::restart(&options),
            Verb::ReopenLogs(options) => control::reopen_logs(&options),
            Verb::Keep(options) => keep::run(&options),
        },
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
