//! The command lines of the OCI runtime.

use crate::sys;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Variables that systemd sets for this process and no other (sd_notify(3), sd_listen_fds(3)).
/// runc would forward NOTIFY_SOCKET itself, and hand LISTEN_FDS on to the container.
const OWN_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// A command of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Start,
    /// `kill --all ID KILL`
    KillAll,
    /// `delete --force`
    Delete,
    State,
    /// `exec --detach`, of the process with this number.
    Exec(u32),
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Create => "create",
            Verb::Start => "start",
            Verb::KillAll => "kill",
            Verb::Delete => "delete",
            Verb::State => "state",
            Verb::Exec(_) => "exec",
        })
    }
}

/// The runtime of one container.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// A path, or a name that is looked up in PATH.
    pub(crate) program: PathBuf,
    /// Its `--root`, absolute.
    pub(crate) root: Option<PathBuf>,
    /// The container.
    pub(crate) id: String,
    /// Its `--log`, in JSON.
    pub(crate) log: PathBuf,
    /// Where a command writes its /proc/PID/stat before it is executed.
    pub(crate) stat_file: PathBuf,
    /// The stderr of its commands, for what doesn't reach the log: a crash, an unknown option.
    pub(crate) stderr: PathBuf,
}

/// The options of `create` that the other commands don't have.
#[derive(Debug)]
pub(crate) struct CreateArgs {
    pub(crate) bundle: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
}

/// What `exec` is given.
#[derive(Debug)]
pub(crate) struct ExecArgs<'a> {
    pub(crate) args: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) cwd: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) groups: &'a [u32],
    pub(crate) pid_file: PathBuf,
    /// With it the process has a terminal.
    pub(crate) console_socket: Option<PathBuf>,
    /// A process.json, which has all of the process: the fields from `args` to `groups` are not told.
    pub(crate) process_file: Option<PathBuf>,
}

impl Runtime {
    /// The command line of `create`. Its stdout and stderr, which become the container's without a
    /// terminal, are left to the caller.
    pub(crate) fn create_command(&self, args: &CreateArgs) -> io::Result<Command> {
        let mut command = self.begin_command(Verb::Create)?;
        command.arg("--bundle").arg(&args.bundle);
        command.arg("--pid-file").arg(&args.pid_file);
        if let Some(socket) = &args.console_socket {
            command.arg("--console-socket").arg(socket);
        }
        // After `--`, as a name may begin with a dash.
        command.args(["--", &self.id]);
        Ok(command)
    }

    /// The command line of `exec`. Its streams, which become the process's without a terminal, are left
    /// to the caller.
    pub(crate) fn exec_command(&self, exec: &ExecArgs<'_>) -> io::Result<Command> {
        let mut command = self.begin_command(Verb::Exec(0))?;
        command.arg("--detach").arg("--pid-file").arg(&exec.pid_file);
        if let Some(socket) = &exec.console_socket {
            command.arg("--tty").arg("--console-socket").arg(socket);
        }
        if let Some(file) = &exec.process_file {
            command.arg("--process").arg(file).args(["--", &self.id]);
            return Ok(command);
        }
        for (option, value) in [("--cwd", exec.cwd), ("--user", exec.user)] {
            if let Some(value) = value {
                command.args([option, value]);
            }
        }
        for group in exec.groups {
            command.args(["--additional-gids", &group.to_string()]);
        }
        for variable in exec.env {
            command.args(["--env", variable]);
        }
        command.args(["--", &self.id]).args(exec.args);
        Ok(command)
    }

    /// The command line of any other command.
    pub(crate) fn command_for(&self, verb: Verb) -> io::Result<Command> {
        let mut command = self.begin_command(verb)?;
        match verb {
            Verb::KillAll => command.args(["--all", "--", &self.id, "KILL"]),
            Verb::Delete => command.args(["--force", "--", &self.id]),
            Verb::Create | Verb::Start | Verb::State | Verb::Exec(_) => command.args(["--", &self.id]),
        };
        Ok(command)
    }

    /// The global options and the verb. The files are emptied, so that what is in them afterwards
    /// is of this command.
    fn begin_command(&self, verb: Verb) -> io::Result<Command> {
        private_file(&self.log)?;
        let mut command = Command::new(&self.program);
        sys::set_pre_exec(&mut command, private_file(&self.stat_file)?.into());
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        command.arg("--log").arg(&self.log);
        command.args(["--log-format", "json", &verb.to_string()]);
        for name in OWN_VARIABLES {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(private_file(&self.stderr)?);
        Ok(command)
    }
}

/// An empty file, mode 0600.
fn private_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}
