//! `firn exec`.

use super::context::Context;
use crate::bail;
use crate::error::{Error, Result};
use crate::lifecycle::exec::{ExecOptions, exec};
use crate::plan::capabilities;
use crate::plan::request::Console;
use crate::spec;
use crate::spec::process::{Capabilities, Process};
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  firn exec web ls /etc\n  firn exec -t web /bin/sh\n  firn exec --user 1000:1000 --cwd /srv --env A=b web ./job"
)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    /// Program and arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Read the process from this JSON file (process of config.json)
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Set an environment variable, NAME=VALUE; may be repeated
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Allocate a pty
    #[arg(short, long)]
    tty: bool,
    /// User, UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    user: Option<ExecUser>,
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Add a capability; may be repeated
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    no_new_privs: Option<bool>,
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Return when the program runs
    #[arg(short, long)]
    detach: bool,
    /// Unix socket to which the pty master is sent
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Unix socket to which a pidfd of the process is sent
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<PathBuf>,
    /// Write the pid of the process to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Pass N descriptors to the program, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,
    /// Join a paused container as well
    #[arg(long)]
    ignore_paused: bool,
    /// Cgroup below the container's: PATH, or CONTROLLER[,…]:PATH on cgroup v1, where it may be
    /// repeated
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true)]
    no_subreaper: bool,
}

/// `--user`. Both ids are parsed completely, or it is an error: a user that is parsed in part
/// must not become root (CVE-2026-30892).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecUser {
    uid: u32,
    gid: Option<u32>,
}

impl FromStr for ExecUser {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let id = |part: &str| match part.parse::<u32>() {
            Ok(id) if id != u32::MAX && part.bytes().all(|b| b.is_ascii_digit()) => Ok(id),
            _ => Err(format!("{part:?} is not a numeric id (UID or UID:GID)")),
        };
        match text.split_once(':') {
            None => Ok(ExecUser { uid: id(text)?, gid: None }),
            Some((uid, gid)) => Ok(ExecUser { uid: id(uid)?, gid: Some(id(gid)?) }),
        }
    }
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    let options = ExecOptions {
        detach: args.detach,
        console: args.console_socket.clone().map_or(Console::None, Console::Socket),
        preserved_fds: context.preserved_fds.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        pid_file: args.pid_file.clone(),
        ignore_paused: args.ignore_paused,
        cgroup: args.cgroup.clone(),
    };
    let describe = |base: Option<&Process>| match &args.process {
        Some(path) => spec::read_json(path),
        None => from_arguments(&args, base.cloned()),
    };
    exec(&context.root, &args.id, describe, options, &context.log)
}

/// The config's process with the changes of the options.
fn from_arguments(args: &Args, base: Option<Process>) -> Result<Process> {
    if args.command.is_empty() {
        bail!("a command is missing: firn exec ID COMMAND, or --process FILE");
    }
    let mut process = base.ok_or_else(|| Error::new("the container's config has no process"))?;
    process.args = args.command.clone();
    process.terminal = args.tty;
    process.console_size = None;
    process.env.extend(args.env.iter().cloned());
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = args.user {
        process.user.uid = user.uid;
        process.user.gid = user.gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&args.additional_gids);
    if let Some(no_new_privs) = args.no_new_privs {
        process.no_new_privileges = no_new_privs;
    }
    if let Some(label) = &args.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    add_capabilities(&mut process.capabilities, &args.cap)?;
    Ok(process)
}

/// Adds capabilities to the bounding, effective and permitted sets; to the ambient set only if
/// the config has inheritable ones, without which it has no effect. Never to the inheritable
/// set (CVE-2022-29162).
fn add_capabilities(sets: &mut Option<Capabilities>, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let sets = sets.get_or_insert_default();
    for name in names {
        let Some(number) = capabilities::typed(name) else { bail!("--cap {name:?} is not the name of a capability") };
        let full = capabilities::names().swap_remove(usize::from(number));
        let inherits = !sets.inheritable.is_empty();
        let ambient = inherits.then_some(&mut sets.ambient);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted].into_iter().chain(ambient) {
            if !set.contains(&full) {
                set.push(full.clone());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_understood_whole_or_not_at_all() {
        assert_eq!("1".parse(), Ok(ExecUser { uid: 1, gid: None }));
        assert_eq!("1:2".parse(), Ok(ExecUser { uid: 1, gid: Some(2) }));
        for bad in ["", ":", "1:", ":1", "a", "1a", "+1", " 1", "1:2:3", "-1", "4294967295", "4294967296", "root"] {
            assert!(bad.parse::<ExecUser>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn added_capabilities_are_never_inheritable() {
        let mut sets = None;
        add_capabilities(&mut sets, &["sys_ptrace".into()]).unwrap();
        let sets = sets.unwrap();
        assert_eq!(sets.bounding, ["CAP_SYS_PTRACE"]);
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
    }
}
