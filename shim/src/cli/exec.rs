//! `firn-shim exec NAME COMMAND`: a further process in the container.

use super::control::Target;
use super::session::{End, Session};
use super::told::tell;
use crate::control::protocol::{Event, ExecProcess, Request, TerminalSize};
use clap::Args;
use firn::error::Result;
use rustix::termios::tcgetwinsize;

/// The options of `exec`.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    target: Target,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// Its stdin is /dev/null
    #[arg(long, conflicts_with = "tty")]
    no_stdin: bool,
    /// Variable beside those of the container; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory [default: the container's]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// User and group, as numbers [default: the container's]
    #[arg(long, short, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Supplementary group, as a number; may be repeated
    #[arg(long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the process; its exit status, or 128 and the number of the signal that ended it. An error is told here: its
/// exit status is not that of other commands.
pub(super) fn run(options: &Options) -> u8 {
    match exec(options) {
        Ok(status) => status,
        Err(error) => {
            tell(&error);
            failure_status(&error.chain())
        }
    }
}

/// As podman and shells have it: 127 where there is no such program, 126 where it can't be run, 125 for all else. The
/// words are those that engines look for in a runtime's errors.
fn failure_status(error: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if says(&["executable file not found", "no such file or directory"]) {
        127
    } else if says(&["permission denied", "operation not permitted"]) {
        126
    } else {
        125
    }
}

fn exec(options: &Options) -> Result<u8> {
    let mut client = options.target.connect()?;
    let size = tcgetwinsize(std::io::stdin()).ok().filter(|_| options.tty);
    let process = ExecProcess {
        args: options.command.clone(),
        env: options.env.clone(),
        cwd: options.cwd.clone(),
        user: options.user.clone(),
        groups: options.additional_gids.clone(),
        terminal: options.tty,
        size: size.map(|size| TerminalSize { rows: size.ws_row, columns: size.ws_col }),
        input: !options.no_stdin,
    };
    let (reply, streams) = client.call(Request::Exec(process))?;
    let number = reply.exec;
    let mut session = Session::begin(&reply, streams, &mut client)?;
    let ended = session.relay(&mut client, |event| match *event {
        Event::ExecEnded { exec, status, signal } if Some(exec) == number => Some(exit_code(status, signal)),
        _ => None,
    })?;
    Ok(match ended {
        End::Exit(code) => code,
        End::Detached => 0,
    })
}

/// As a shell shows it.
fn exit_code(status: Option<u8>, signal: Option<i32>) -> u8 {
    let of_signal = |signal: i32| u8::try_from(128 + signal).unwrap_or(u8::MAX);
    status.or(signal.map(of_signal)).unwrap_or(u8::MAX)
}
