//! `firnctl exec`, `run`, `login` and `root-login`: into a container. `firn-shim` takes our place, so that
//! streams, terminal and exit status are the program's own.

use super::places::{PlaceArgs, find};
use crate::access::user::Root;
use crate::host::program;
use anyhow::{Result, bail};
use clap::Args;
use std::convert::Infallible;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Run a program in a container, with the environment of its definition.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Name of the container.
    name: String,
    /// Give it a terminal; it has one anyway where stdin and stdout are one.
    #[arg(long, short)]
    tty: bool,
    /// Give it none.
    #[arg(long, short = 'T', conflicts_with = "tty")]
    no_tty: bool,
    /// Variable beside those of the container; may be repeated.
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory inside.
    #[arg(long, short = 'w', visible_alias = "workdir", value_name = "DIR")]
    cwd: Option<String>,
    /// For those who type -it: stdin is passed on anyway.
    #[arg(long, short, hide = true)]
    interactive: bool,
    /// User and group inside: numbers, or names of its own /etc/passwd and /etc/group.
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Run a command in a container as its root logs in: in a login shell, with the arguments as they are.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of the container.
    name: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// A container to enter.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Name of the container.
    name: String,
}

impl RunArgs {
    pub fn of(name: &str, command: &[String]) -> Self {
        RunArgs { name: name.into(), command: command.to_vec() }
    }
}

impl LoginArgs {
    pub fn of(name: &str) -> Self {
        LoginArgs { name: name.into() }
    }
}

/// The exit status of `exec` and `run` where it is firn that has failed, as with podman.
pub const FAILED: u8 = 125;

/// What a login shell of root has.
const HOME: &str = "/root";
/// It reads /etc/profile, and becomes what it is given: arguments are never parsed again.
const LOGIN_SHELL: [&str; 4] = ["/bin/sh", "-l", "-c", r#"exec "$@""#];

/// Runs a program.
pub fn exec(arguments: &ExecArgs, places: &PlaceArgs) -> Result<Infallible> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut options: Vec<String> = Vec::new();
    options.extend((arguments.tty || is_terminal && !arguments.no_tty).then(|| "--tty".into()));
    options.extend(arguments.env.iter().flat_map(|variable| ["--env".into(), variable.clone()]));
    options.extend(arguments.cwd.iter().flat_map(|cwd| ["--cwd".into(), cwd.clone()]));
    if let Some(user) = &arguments.user {
        options.extend(user_options(user, || {
            places.become_owner()?;
            Root::of(&find(&places.places()?, &arguments.name)?)
        })?);
    }
    enter(&arguments.name, places, &options, &arguments.command)
}

/// What `firn-shim exec` is told of `USER[:GROUP]`: names are looked up in the root, numbers are not.
fn user_options(text: &str, root: impl FnOnce() -> Result<Root>) -> Result<Vec<String>> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let is_number = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(user) && group.is_none_or(is_number) {
        return Ok(vec!["--user".into(), text.into()]);
    }
    let root = root()?;
    let (uid, gid, groups) = if is_number(user) {
        (user.to_owned(), 0, Vec::new())
    } else {
        let found = root.user(user)?;
        (found.uid.to_string(), found.gid, found.groups)
    };
    // With an explicit group there are no supplementary ones, as with Docker.
    let (gid, groups) = match group {
        None => (gid.to_string(), groups),
        Some(group) if is_number(group) => (group.to_owned(), Vec::new()),
        Some(group) => (root.group(group)?.to_string(), Vec::new()),
    };
    let mut options = vec!["--user".into(), format!("{uid}:{gid}")];
    options.extend(groups.iter().flat_map(|group| ["--additional-gids".into(), group.to_string()]));
    Ok(options)
}

/// Runs a command in a login shell.
pub fn run(arguments: &RunArgs, places: &PlaceArgs) -> Result<Infallible> {
    let command: Vec<String> = LOGIN_SHELL.into_iter().chain(["sh"]).map(String::from).collect();
    enter(&arguments.name, places, &root_options(), &[command, arguments.command.clone()].concat())
}

/// A login shell of root.
pub fn root_login(arguments: &LoginArgs, places: &PlaceArgs) -> Result<Infallible> {
    enter(&arguments.name, places, &root_options(), &["/bin/sh".into(), "-l".into()])
}

/// The console.
pub fn login(arguments: &LoginArgs, places: &PlaceArgs) -> Result<Infallible> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    let mut shim = Command::new(program("firn-shim"));
    shim.arg("attach").arg("--state-dir").arg(container.places().monitors()).arg(&container.name);
    bail!("run firn-shim: {}", shim.exec());
}

fn root_options() -> Vec<String> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut options: Vec<String> = is_terminal.then(|| "--tty".into()).into_iter().collect();
    options.extend(["--user", "0:0", "--env", &format!("HOME={HOME}"), "--env", "USER=root"].map(String::from));
    options
}

/// Has `firn-shim exec` take our place.
pub fn enter(name: &str, places: &PlaceArgs, options: &[String], command: &[String]) -> Result<Infallible> {
    places.become_owner()?;
    let container = find(&places.places()?, name)?;
    if container.connect()?.is_none() {
        bail!("container {name}: does not run; `firnctl start {name}` starts it");
    }
    let mut shim = Command::new(program("firn-shim"));
    shim.arg("exec").arg("--state-dir").arg(container.places().monitors());
    // What was changed since init got its environment counts for what comes later.
    for (name, value) in container.running()?.map(|run| run.definition.environment).unwrap_or_default() {
        shim.arg("--env").arg(format!("{name}={value}"));
    }
    shim.args(options).arg(&container.name).args(command);
    bail!("run firn-shim: {}", shim.exec());
}
