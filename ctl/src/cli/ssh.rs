//! `firnctl ssh-command` and `ssh-keys`: what the host's sshd calls for keys of containers' users.

use super::access::enter;
use super::places::{PlaceArgs, find};
use crate::access::user::{Root, User};
use crate::apply::keys;
use crate::host::must_be_root;
use crate::view::answer::print;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::convert::Infallible;
use std::io::{IoSlice, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;

/// Log in to a container as one of its users: the command of a key in authorized_keys.
///
/// Runs SSH_ORIGINAL_COMMAND with /bin/sh, or the user's login shell where there is none.
#[derive(Debug, Args)]
pub struct SshCommandArgs {
    /// User of the container, and the container's name.
    #[arg(value_name = "USER@NAME", value_parser = login)]
    login: (String, String),
}

/// Print the lines of authorized_keys for the containers' users, as sshd's AuthorizedKeysCommand.
#[derive(Debug, Args)]
pub struct SshKeysArgs {
    /// Account of the host that logs in: the lines are root's.
    #[arg(default_value = "root")]
    account: String,
}

/// Give ssh a connection to the sshd of a container, which needs no network (ProxyUseFdpass of ssh_config(5)).
///
/// A system with systemd 256 or newer and an sshd listens for the host at /run/host/unix-export/ssh.
#[derive(Debug, Args)]
pub struct SshProxyArgs {
    /// Container.
    name: String,

    /// Only tell by the exit status whether there is one to connect to.
    #[arg(long)]
    check: bool,
}

/// Where an sshd in a container listens for the host (systemd-ssh-generator(8)).
const SOCKET: &str = "/run/host/unix-export/ssh";

fn login(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('@').filter(|(user, name)| !user.is_empty() && !name.is_empty());
    parts.map(|(user, name)| (user.into(), name.into())).ok_or_else(|| "give USER@NAME, as in root@web".into())
}

/// The exit status that ssh has for errors of its own.
pub const FAILED: u8 = 255;

/// What the client has asked for (sshd(8), "command=").
const COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// Where distributions have OpenSSH's sftp-server.
const SFTP_SERVERS: [&str; 5] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/run/current-system/sw/libexec/sftp-server",
];

/// Sends the connection over standard output, a socket of ssh's.
pub fn proxy(arguments: &SshProxyArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    let name = &arguments.name;
    let none = || format!("container {name}: nothing listens at {SOCKET}: it takes systemd 256 and an sshd");
    let connection = Root::of(&find(&places.places()?, name)?)?.connect(SOCKET)?.with_context(none)?;
    if arguments.check {
        return Ok(());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [connection.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(std::io::stdout(), &[IoSlice::new(b"\0")], &mut control, SendFlags::empty())
        .context("standard output: no socket: ssh calls this with ProxyUseFdpass=yes")?;
    Ok(())
}

/// Becomes the user's program.
pub fn command(arguments: &SshCommandArgs, places: &PlaceArgs) -> Result<Infallible> {
    must_be_root()?;
    let (user, name) = &arguments.login;
    let asked = match std::env::var(COMMAND) {
        Ok(command) => Some(command),
        Err(std::env::VarError::NotPresent) => None,
        Err(error) => return Err(anyhow!(error).context("the command")),
    };
    let container = find(&places.places()?, name)?;
    let root = Root::of(&container)?;
    let user = root.user(user).with_context(|| format!("container {name}"))?;
    let is_terminal = std::io::stdin().is_terminal();
    let mut options = options(&user, &root);
    if is_terminal {
        options.push("--tty".into());
        // sshd has it from the client.
        options.extend(std::env::var("TERM").into_iter().flat_map(|term| ["--env".into(), format!("TERM={term}")]));
    }
    enter(name, places, &options, &program(&user, asked.as_deref()))
}

/// Nothing of the host's environment.
fn options(user: &User, root: &Root) -> Vec<String> {
    let mut options = vec!["--user".into(), format!("{}:{}", user.uid, user.gid)];
    options.extend(user.groups.iter().flat_map(|group| ["--additional-gids".into(), group.to_string()]));
    for (variable, value) in
        [("USER", &user.name), ("LOGNAME", &user.name), ("HOME", &user.home), ("SHELL", &user.shell)]
    {
        options.extend(["--env".into(), format!("{variable}={value}")]);
    }
    let home = if root.has_directory(&user.home) { &user.home } else { "/" };
    options.extend(["--cwd".into(), home.into()]);
    options
}

fn program(user: &User, asked: Option<&str>) -> Vec<String> {
    let shell = |script: &str| vec!["/bin/sh".to_owned(), "-c".into(), script.into()];
    match asked {
        None => vec![user.shell.clone(), "-l".into()],
        Some(command) if is_sftp(command) => {
            let candidates = SFTP_SERVERS.join(" ");
            shell(&format!(
                "for p in {candidates}; do [ -x $p ] && exec $p; done; echo 'no sftp-server in this container' >&2; exit 127"
            ))
        }
        Some(command) => shell(command),
    }
}

/// sshd's subsystem, which has a path of the host's: the container's own is meant.
fn is_sftp(command: &str) -> bool {
    let program = command.split_ascii_whitespace().next().unwrap_or_default();
    let name = Path::new(program).file_name().and_then(|name| name.to_str());
    program == "internal-sftp" || program.starts_with('/') && name == Some("sftp-server")
}

/// Prints the lines.
pub fn keys(arguments: &SshKeysArgs, places: &PlaceArgs) -> Result<()> {
    must_be_root()?;
    if arguments.account != "root" {
        return Ok(());
    }
    let lines = keys::all_lines(&places.places()?)?;
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_sftp_server_is_meant() {
        for command in ["internal-sftp", "internal-sftp -l INFO", "/usr/lib/openssh/sftp-server"] {
            assert!(is_sftp(command), "{command}");
        }
        for command in ["sftp-server", "cat /usr/lib/openssh/sftp-server", "/bin/sh", ""] {
            assert!(!is_sftp(command), "{command}");
        }
    }

    #[test]
    fn a_login_has_both() {
        assert_eq!(login("web@a-1.b"), Ok(("web".into(), "a-1.b".into())));
        for bad in ["web", "@a", "web@"] {
            assert!(login(bad).is_err(), "{bad}");
        }
    }
}
