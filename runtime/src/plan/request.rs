//! What the caller requests besides the bundle: command line options, console, streams,
//! descriptors.

use super::layered_root::LayeredRootPlan;
use crate::spec::process::ConsoleSize;
use rustix::fd::RawFd;
use rustix::fs::Stat;
use std::path::PathBuf;

/// The input of [`super::plan`] besides the bundle and the host.
#[derive(Debug, Default)]
pub struct Request {
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// From firn.json.
    pub layered_root: Option<LayeredRootPlan>,
    pub cgroup_manager: CgroupManager,
    /// None if no process is created: for the plan of an existing container.
    pub attachment: Option<Attachment>,
    /// The directory of the notify socket, mounted at /run/notify.
    pub notify_directory: Option<PathBuf>,
    /// Variables NAME=VALUE that follow those of `process.env`.
    pub environment: Vec<String>,
    /// Descriptors of the caller that are passed to the program, besides the standard streams.
    pub preserved_fds: Vec<RawFd>,
    /// MS_MOVE and chroot(2) instead of pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// `run`: init continues when it is ready; otherwise it waits for `start`.
    pub starts_at_once: bool,
}

/// Which manager creates the cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// firn, by mkdir(2).
    #[default]
    Cgroupfs,
    /// systemd, as a scope: its user instance or the system instance.
    Systemd { of_user: bool },
    /// None: the container stays in the caller's cgroup.
    Disabled,
}

/// The console and streams of a new process.
#[derive(Debug, Default)]
pub struct Attachment {
    pub console: Console,
    pub streams: CallerStreams,
}

/// Where the pty master is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Console {
    /// No pty: the process can have no terminal.
    #[default]
    None,
    /// The Unix socket of `--console-socket`.
    Socket(PathBuf),
    /// The foreground, which relays to the caller's terminal or streams.
    Foreground,
}

/// The caller's standard streams, by number; None for a closed one.
#[derive(Debug, Default)]
pub struct CallerStreams {
    pub stats: [Option<Stat>; 3],
    /// Window size of the terminal at stdin.
    pub window: Option<ConsoleSize>,
}
