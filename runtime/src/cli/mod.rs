//! The command line: runc's, as conmon, containerd and scripts call it, with crun's additions.

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
use crate::log::{Format, Log, print_to_stderr};
use crate::sys::{fds, signal};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use context::{Context, print};
use deferred::Deferred;
use std::ffi::OsString;
use std::path::PathBuf;

/// OCI container runtime, a drop-in replacement for runc; also runs Nix closures and layered
/// root file systems.
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
    /// Directory of the containers' state [default: /run/firn]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write the log to this file instead of stderr
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// `debug` means --debug (crun)
    #[arg(long, value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Log debug messages
    #[arg(long)]
    debug: bool,
    /// Manage cgroups by systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// How cgroups are managed
    #[arg(long, value_enum, value_name = "MANAGER")]
    cgroup_manager: Option<CgroupManager>,
    /// Accepted for compatibility with runc; detected automatically
    #[arg(long, value_name = "BOOL", hide = true)]
    rootless: Option<String>,
    /// Accepted for compatibility with runc
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
    /// Create a container; its program waits for `start`
    Create(create::Args),
    /// Run the program of a created container
    Start(start::Args),
    /// Create and start a container, and delete it when it ends
    Run(run::Args),
    /// Run a further process in a container
    Exec(exec::Args),
    /// Print a container's state as JSON
    State(state::Args),
    /// Send a signal to a container's init
    Kill(kill::Args),
    /// Delete a stopped container
    Delete(delete::Args),
    /// List containers
    List(list::Args),
    /// List the processes of a container
    Ps(ps::Args),
    /// Freeze all processes of a container
    Pause(pause::Args),
    /// Thaw a paused container
    Resume(pause::Args),
    /// Dump a container to images with CRIU
    Checkpoint(Deferred<checkpoint::Args>),
    /// Restore a container from images
    Restore(Deferred<restore::Args>),
    /// Print resource usage and OOM kills as JSON
    Events(events::Args),
    /// Change the limits of a container
    Update(Deferred<update::Args>),
    /// Add mounts to a running container, or remove them
    Mounts(mounts::Args),
    /// Write a default config.json
    Spec(spec::Args),
    /// Print the supported features as JSON
    Features,
}

/// The definition of the command line, for man pages and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line and returns the exit status. Errors are printed here only.
pub fn run(arguments: Vec<OsString>) -> u8 {
    // First of all, and only for commands that make a process in a container. The same word
    // as an argument elsewhere only costs time.
    let enters = |argument: &OsString| argument == "create" || argument == "run" || argument == "exec";
    let enters = arguments.iter().skip(1).any(enters);
    if enters && let Err(error) = seal::protect() {
        Log::default().error(&error.chain());
        return 1;
    }
    // First, or descriptors opened below would become standard streams.
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
    // Listed before anything is opened: otherwise a number that the caller has closed could be
    // one of firn's descriptors, and be passed by --preserve-fds. Closed numbers are skipped,
    // as by crun: podman's --preserve-fd may name any.
    let preserved_fds = match fds::open_in_range(3, cli.preserve_fds()) {
        Ok(preserved) => preserved,
        Err(error) => {
            Log::default().error(&format!("--preserve-fds: list /proc/self/fd: {error}"));
            return failure;
        }
    };
    // Neither hooks nor containers get descriptors that the caller leaked (CVE-2024-21626: a
    // leaked directory descriptor gave access to the host's file system); --preserve-fds names
    // the intended ones.
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

/// Prints help to stdout; a usage error to stderr, with runc's exit codes.
fn usage(error: &clap::Error, is_exec: bool) -> u8 {
    let text = error.render().to_string();
    match error.use_stderr() {
        true => print_to_stderr(&text),
        // EPIPE: stdout is closed.
        false => drop(print(&text)),
    }
    if let Some(option) = without_argument(error) {
        print_to_stderr(&compat::needs_argument(option));
    }
    if let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand) {
        print_to_stderr(&compat::no_help_topic(command));
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::InvalidSubcommand => compat::UNKNOWN_COMMAND,
        _ if is_exec => compat::EXEC_FAILURE,
        _ => 1,
    }
}

/// The option at the end of the command line whose value is missing.
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
