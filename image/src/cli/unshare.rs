//! `firn-image unshare`: a command where the files of an ordinary user's containers belong to the caller's root.

use crate::caller::{self, CallerError};
use crate::rootfs::overlay::enter_user_namespace;
use anyhow::{Context, Result};
use clap::Args;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

const EXAMPLES: &str = "\
Examples:
  firn-image unshare ls -l ~/.local/share/firn/layers   owners as a container sees them
  firn-image unshare rm -r ./copied                     files of subordinate ids, which rm alone can't remove
";

/// Run a command as root of the user namespace that an ordinary user's images and containers have.
///
/// The caller's id is 0 in it, and the ids of /etc/subuid and /etc/subgid follow from 1 on, where there are any.
/// Mounts are seen by the command alone. For root it is the command itself.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UnshareArgs {
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Becomes the command.
pub(super) fn run(arguments: &UnshareArgs) -> Result<Infallible> {
    match caller::enter() {
        // With the own id alone.
        Err(CallerError::NoRange { .. } | CallerError::Read { .. }) => enter_user_namespace()?,
        result => result?,
    }
    let (program, rest) = arguments.command.split_first().context("give a command")?;
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("run {}", program.display()))
}
