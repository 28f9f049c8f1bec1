//! The command line: runc's, which conmon, containerd and people's scripts
//! call, with crun's additions.

pub mod checkpoint;
pub mod context;
pub mod create;
pub mod deferred;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod ids;
pub mod kill;
pub mod list;
pub mod mounts;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod version;

use crate::compat;
use crate::create::seal;
use crate::error::{Kind, Result};
use crate::lifecycle::prepare::Manager;
use crate::log::{Format, Log, tell};
use crate::sys::{fds, signal};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use context::{Context, print};
use deferred::Deferred;
use std::ffi::OsString;
use std::path::PathBuf;

/// An OCI container runtime: a drop-in for runc that also runs Nix closures and
/// layered root file systems.
#[derive(Debug, Parser)]
#[command(
    name = "firn",
    version = version::text(),
    disable_help_subcommand = true,
    disable_version_flag = true,
    after_help = "Examples:\n  firn spec                   write a config.json to begin with\n  firn run web                run the bundle in this directory as container `web`\n  firn exec -t web /bin/sh    a shell in it\n  firn list                   what runs\n  firn delete --force web     end it and clear up"
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
pub struct Globals {
    /// Where containers' state is kept [default: /run/firn]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write log lines to this file instead of stderr
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// `debug` is --debug (for crun's callers)
    #[arg(long, value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Log also what is being done
    #[arg(long)]
    debug: bool,
    /// Make cgroups through systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// How cgroups are made
    #[arg(long, value_enum, value_name = "MANAGER")]
    cgroup_manager: Option<CgroupManager>,
    /// Accepted for runc's callers; it shows by itself
    #[arg(long, value_name = "BOOL", hide = true)]
    rootless: Option<String>,
    /// Accepted for old callers of runc
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
    /// Print version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CgroupManager {
    Cgroupfs,
    Systemd,
    Disabled,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a container; its program waits for `start`
    Create(create::Args),
    /// Let the program of a created container run
    Start(start::Args),
    /// Make a container, run it, and delete it when it ends
    Run(run::Args),
    /// Run another program in a container
    Exec(exec::Args),
    /// Show a container's state as JSON
    State(state::Args),
    /// Send a signal to a container's init
    Kill(kill::Args),
    /// Delete a container that has stopped
    Delete(delete::Args),
    /// List containers
    List(list::Args),
    /// Show the processes of a container
    Ps(ps::Args),
    /// Stop all processes of a container for a while
    Pause(pause::Args),
    /// Let a paused container go on
    Resume(pause::Args),
    /// Save a container with all its processes in images
    Checkpoint(Deferred<checkpoint::Args>),
    /// Let a container run on from its images
    Restore(Deferred<restore::Args>),
    /// Print what a container uses, as JSON, and that it ran out of memory
    Events(events::Args),
    /// Change the limits of a container
    Update(Deferred<update::Args>),
    /// Add mounts to a container that runs, or take them away
    Mounts(mounts::Args),
    /// Write a config.json to begin with
    Spec(spec::Args),
    /// Show what this runtime supports, as JSON
    Features,
}

/// The command line's definition, from which man pages and completions are made.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line; the error, if there is one, is told here and nowhere
/// else.
pub fn run(arguments: Vec<OsString>) -> u8 {
    // Before anything else, and for the commands alone that make a process
    // inside a container. A name in another place costs time and nothing else.
    let enters = |argument: &OsString| argument == "create" || argument == "run" || argument == "exec";
    let enters = arguments.iter().skip(1).any(enters);
    if enters && let Err(error) = seal::protect() {
        Log::default().error(&error.chain());
        return 1;
    }
    // The streams first, or what is opened for the signals would be one of them.
    if fds::open_standard_streams().is_err() {
        return 1;
    }
    signal::reset_at_start();
    if enters {
        signal::reset_ignored();
    }
    let is_exec = arguments.iter().skip(1).any(|argument| argument == "exec");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, is_exec),
    };
    let failure = if matches!(cli.command, Command::Exec(_)) { compat::EXEC_FAILURE } else { 1 };
    // Listed before anything is opened: a number that the caller has closed would
    // soon be one of ours, and --preserve-fds would hand it over. Such numbers are
    // passed over, as by crun, for podman's --preserve-fd names any it likes.
    let preserved_fds = match fds::open_in_range(3, cli.preserve_fds()) {
        Ok(preserved) => preserved,
        Err(error) => {
            Log::default().error(&format!("--preserve-fds: list /proc/self/fd: {error}"));
            return failure;
        }
    };
    // Neither hooks nor a container get what the caller left open by mistake
    // (CVE-2024-21626); --preserve-fds says what was not.
    if let Err(errno) = fds::set_cloexec_from(3) {
        Log::default().error(&format!("mark inherited descriptors close-on-exec: {}", crate::error::errno_text(errno)));
        return failure;
    }
    let format = if cli.globals.log_format == LogFormat::Json { Format::Json } else { Format::Text };
    let is_debug = cli.globals.debug || cli.globals.log_level.as_deref() == Some("debug");
    let log = match Log::open(cli.globals.log.as_deref(), format, is_debug) {
        Ok(log) => log,
        Err(error) => {
            Log::default().error(&error.chain());
            return failure;
        }
    };
    let context = Context {
        root: cli.globals.root.clone().unwrap_or_else(crate::state::dir::default_root),
        log,
        preserved_fds,
        cgroup_manager: match cli.globals.cgroup_manager {
            Some(CgroupManager::Disabled) => Manager::Disabled,
            Some(CgroupManager::Systemd) => Manager::Systemd,
            None if cli.globals.systemd_cgroup => Manager::Systemd,
            Some(CgroupManager::Cgroupfs) | None => Manager::Cgroupfs,
        },
    };
    match cli.run(&context) {
        Ok(code) => code,
        Err(error) => {
            match error.kind() == Kind::Program {
                true => context.log.error_of_program(&error.chain()),
                false => context.log.error(&error.chain()),
            }
            failure
        }
    }
}

impl Cli {
    fn preserve_fds(&self) -> u32 {
        match &self.command {
            Command::Create(args) => args.preserve_fds(),
            Command::Run(args) => args.preserve_fds(),
            Command::Exec(args) => args.preserve_fds,
            _ => 0,
        }
    }

    fn run(self, context: &Context) -> Result<u8> {
        match self.command {
            Command::Create(args) => create::run(args, context),
            Command::Start(args) => start::run(&args, context),
            Command::Run(args) => run::run(args, context),
            Command::Exec(args) => exec::run(args, context),
            Command::State(args) => state::run(&args, context),
            Command::Kill(args) => kill::run(&args, context),
            Command::Delete(args) => delete::run(&args, context),
            Command::List(args) => list::run(&args, context),
            Command::Ps(args) => ps::run(&args, context),
            Command::Pause(args) => pause::pause(&args, context),
            Command::Resume(args) => pause::resume(&args, context),
            Command::Checkpoint(Deferred(args)) => checkpoint::run(args, context),
            Command::Restore(Deferred(args)) => restore::run(args, context),
            Command::Events(args) => events::run(&args, context),
            Command::Update(Deferred(args)) => update::run(&args, context),
            Command::Mounts(args) => mounts::run(&args, context),
            Command::Spec(args) => spec::run(&args),
            Command::Features => features::run(),
        }
    }
}

/// Help is an answer; a mistake is an error with runc's exit codes.
fn usage(error: &clap::Error, is_exec: bool) -> u8 {
    let text = error.render().to_string();
    match error.use_stderr() {
        true => tell(&text),
        // A closed stdout leaves nobody to tell.
        false => drop(print(&text)),
    }
    if let Some(option) = without_argument(error) {
        tell(&compat::needs_argument(option));
    }
    if let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand) {
        tell(&compat::no_help_topic(command));
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::InvalidSubcommand => compat::UNKNOWN_COMMAND,
        _ if is_exec => compat::EXEC_FAILURE,
        _ => 1,
    }
}

/// The option at the line's end that lacks its value.
fn without_argument(error: &clap::Error) -> Option<&str> {
    match (error.kind(), error.get(ContextKind::InvalidValue), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::InvalidValue, Some(ContextValue::String(value)), Some(ContextValue::String(option)))
            if value.is_empty() =>
        {
            option.split_whitespace().next()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
