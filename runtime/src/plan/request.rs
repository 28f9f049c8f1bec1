//! What the caller asks for beside the bundle: options of the command line, and what of
//! the caller's own state reaches the container.

use super::roots::RootsPlan;
use crate::spec::process::ConsoleSize;
use rustix::fd::RawFd;
use rustix::fs::Stat;
use std::path::PathBuf;

/// The input of [`super::plan`] that is neither the bundle's nor the host's.
#[derive(Debug, Default)]
pub struct Request {
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// From the bundle's firn.json.
    pub roots: Option<RootsPlan>,
    pub cgroup_manager: CgroupManager,
    /// None where no process is made: the plan of a container that exists.
    pub attachment: Option<Attachment>,
    /// The directory with the notify socket, for the container's /run/notify.
    pub notify_directory: Option<PathBuf>,
    /// NAME=VALUE of variables that come after those of `process.env`.
    pub environment: Vec<String>,
    /// Descriptors of the caller that the program keeps, beside the standard streams.
    pub preserved_fds: Vec<RawFd>,
    /// MS_MOVE and chroot(2) instead of pivot_root(2).
    pub no_pivot: bool,
    /// The container keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// `run`: init goes on when it is ready. Otherwise it waits for `start`.
    pub starts_at_once: bool,
}

/// Who makes the container's cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// firn, by mkdir(2).
    #[default]
    Cgroupfs,
    /// systemd, as a scope: the user's manager, or the machine's.
    Systemd { of_user: bool },
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
}

/// How the new process is attached to the caller.
#[derive(Debug, Default)]
pub struct Attachment {
    pub console: Console,
    pub streams: CallerStreams,
}

/// Who gets the pty master if the process has a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Console {
    /// Nobody, so there can be no terminal.
    #[default]
    None,
    /// Whoever listens at this Unix socket (`--console-socket`).
    Socket(PathBuf),
    /// The caller, whose own terminal and streams it stands for.
    Foreground,
}

/// The caller's standard streams, by number; None where one is closed.
#[derive(Debug, Default)]
pub struct CallerStreams {
    pub stats: [Option<Stat>; 3],
    /// Of the terminal at standard input.
    pub window: Option<ConsoleSize>,
}
