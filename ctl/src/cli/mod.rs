//! The command line: one file for each verb. Exit status: 0 done, 1 error, 2 usage, 3 not ready in time, 4
//! updated but units have failed, 10 from `plan` where there is something to do; of `exec` and `run` 125 where
//! firn has failed, 126 and 127 as shells have them.

mod access;
mod alter;
mod analyze;
mod config;
mod create;
mod destroy;
mod events;
mod extra_container;
mod generations;
mod health;
mod inspect;
mod install;
mod life;
mod list;
mod logs;
mod nixos_container;
mod places;
mod process;
mod shell;
mod show_ip;
mod source;
mod ssh;
mod together;
mod unit;
mod up;

use crate::definition::mistake::Mistakes;
use clap::{Parser, Subcommand};
use places::PlaceArgs;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use together::Failures;

/// Containers by definition.
#[derive(Debug, Parser)]
#[command(name = "firnctl", version, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    places: PlaceArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Down(up::DownArgs),
    Plan(create::PlanArgs),
    Create(create::CreateArgs),
    /// Start containers that are installed, with what they depend on.
    Start(life::NameArgs),
    Stop(life::StopArgs),
    /// Stop containers and start them again, as they are installed.
    Restart(life::StopArgs),
    /// Kill containers.
    Terminate(life::NameArgs),
    Kill(process::KillArgs),
    Update(life::UpdateArgs),
    Destroy(destroy::DestroyArgs),
    List(list::ListArgs),
    Status(list::StatusArgs),
    Inspect(inspect::InspectArgs),
    Analyze(analyze::AnalyzeArgs),
    Events(events::EventsArgs),
    Top(process::TopArgs),
    ShowIp(show_ip::ShowIpArgs),
    ShowHostKey(inspect::ShowHostKeyArgs),
    Port(alter::PortArgs),
    Bind(alter::BindArgs),
    Limit(alter::LimitArgs),
    /// Bring containers back to what their files say: what `port`, `bind` and `limit` have changed.
    Reset(life::NameArgs),
    Logs(logs::LogsArgs),
    Exec(access::ExecArgs),
    Run(access::RunArgs),
    /// Open the console of a container. Ctrl-P Ctrl-Q leave it.
    Login(access::LoginArgs),
    /// Open a login shell of a container's root.
    RootLogin(access::LoginArgs),
    Shell(shell::ShellArgs),
    #[command(name = "ssh-command")]
    Ssh(ssh::SshCommandArgs),
    SshKeys(ssh::SshKeysArgs),
    SshProxy(ssh::SshProxyArgs),
    Generations(generations::GenerationsArgs),
    Rollback(generations::RollbackArgs),
    Config(config::ConfigArgs),
    #[command(hide = true)]
    Unit(unit::UnitArgs),
}

/// Runs what the program is called as: `firnctl`, or a link to it of another program's name.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().map(Path::new).and_then(Path::file_name);
    match called.and_then(OsStr::to_str) {
        Some("extra-container") => extra_container::main(words),
        Some("nixos-container") => nixos_container::main(words),
        _ => run(&mut Arguments::parse_from(words)),
    }
}

/// The command line itself, for man pages and completions.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the verb, and prints what went wrong.
fn run(arguments: &mut Arguments) -> ExitCode {
    let places = &arguments.places;
    let result = match &mut arguments.command {
        Command::Shell(arguments) => match shell::run(arguments, places) {
            Ok(status) => return ExitCode::from(status),
            Err(error) => Err(error),
        },
        Command::Ssh(arguments) => return not_entered(ssh::command(arguments, places), ssh::FAILED),
        Command::SshKeys(arguments) => ssh::keys(arguments, places),
        Command::SshProxy(arguments) => ssh::proxy(arguments, places),
        Command::Up(arguments) => up::up(arguments, places),
        Command::Down(arguments) => up::down(arguments, places),
        Command::Plan(arguments) => match create::plan(arguments, places) {
            Ok(status) => return ExitCode::from(status),
            Err(error) => Err(error),
        },
        Command::Create(arguments) => create::create(arguments, places),
        Command::Start(arguments) => life::start(arguments, places),
        Command::Stop(arguments) => life::stop(arguments, places),
        Command::Restart(arguments) => life::restart(arguments, places),
        Command::Terminate(arguments) => life::terminate(arguments, places),
        Command::Update(arguments) => life::update(arguments, places),
        Command::Destroy(arguments) => destroy::run(arguments, places),
        Command::List(arguments) => list::list(arguments, places),
        Command::Status(arguments) => list::status(arguments, places),
        Command::Kill(arguments) => process::kill(arguments, places).map(|never| match never {}),
        Command::Top(arguments) => process::top(arguments, places).map(|never| match never {}),
        Command::Inspect(arguments) => inspect::inspect(arguments, places),
        Command::Events(arguments) => events::run(arguments, places),
        Command::Analyze(arguments) => analyze::run(arguments, places),
        Command::ShowHostKey(arguments) => inspect::show_host_key(arguments, places),
        Command::ShowIp(arguments) => show_ip::run(arguments, places),
        Command::Port(arguments) => alter::ports(arguments, places),
        Command::Bind(arguments) => alter::binds(arguments, places),
        Command::Reset(arguments) => alter::reset(arguments, places),
        Command::Limit(arguments) => alter::limits(arguments, places),
        Command::Logs(arguments) => logs::run(arguments, places),
        Command::Exec(arguments) => return not_entered(access::exec(arguments, places), access::FAILED),
        Command::Run(arguments) => return not_entered(access::run(arguments, places), access::FAILED),
        Command::Login(arguments) => access::login(arguments, places).map(|never| match never {}),
        Command::RootLogin(arguments) => access::root_login(arguments, places).map(|never| match never {}),
        Command::Generations(arguments) => generations::list(arguments, places),
        Command::Rollback(arguments) => generations::rollback(arguments, places),
        Command::Config(arguments) => config::run(arguments, places),
        Command::Unit(arguments) => unit::run(arguments, places),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", shown(&error));
            ExitCode::from(error.downcast_ref::<Failures>().map_or(1, |failures| failures.code))
        }
    }
}

/// What would have become another program has failed: with a status that is not the program's.
fn not_entered(result: anyhow::Result<std::convert::Infallible>, status: u8) -> ExitCode {
    match result {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{}", shown(&error));
            ExitCode::from(status)
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
        // What containers have said may be in it.
        None => format!("firnctl: {error:#}").lines().map(firn::log::printable).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_holds_together() {
        super::command().debug_assert();
    }
}
