//! `exec`: starts a further process in a running container.

use super::foreground;
use super::prepare::attachment;
use crate::compat;
use crate::create::preflight;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::ipc::protocol::Message;
use crate::ipc::{child, pidfd};
use crate::join::{self, Joined};
use crate::log::Log;
use crate::plan;
use crate::plan::request::Console;
use crate::spec::process::Process;
use crate::state::container::Container;
use crate::state::{StateDir, pid_file};
use crate::sys;
use rustix::fd::RawFd;
use std::path::{Path, PathBuf};

/// Options of `exec`, besides the process itself.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// Return when the program runs.
    pub detach: bool,
    pub console: Console,
    /// Descriptors of the caller that are passed to the program.
    pub preserved_fds: Vec<RawFd>,
    /// Unix socket to which a pidfd of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// Join a paused container as well.
    pub ignore_paused: bool,
    /// Below the container's cgroup: `PATH`, or `CONTROLLER:PATH` on v1.
    pub cgroup: Vec<String>,
}

/// Runs a process in container `id`; `describe` derives it from the config's `process`.
/// Returns its exit status, or 0 with `detach`. Blocks all signals of the caller: the
/// foreground forwards them.
pub fn exec(
    root: &Path,
    id: &str,
    describe: impl FnOnce(Option<&Process>) -> Result<Process>,
    mut options: ExecOptions,
    log: &Log,
) -> Result<u8> {
    super::require_single_thread()?;
    let dir = StateDir::open_unlocked(root, id)?;
    let container = Container::find(&dir, options.ignore_paused)?;
    let process = describe(container.spec.process.as_ref())?;
    sys::signal::block_all().doing(|| "block signals")?;
    if !options.detach && options.console == Console::None {
        options.console = Console::Foreground;
    }
    let (record, attachment) = (&container.record, attachment(options.console.clone(), process.terminal));
    let host = Host::probe()?;
    let preserved = std::mem::take(&mut options.preserved_fds);
    let plan = plan::exec(&process, &container.spec, &attachment, preserved, record.root_is_moved, &host, log)?;
    preflight::check_process(&plan.process)?;
    let pidfd_socket = options.pidfd_socket.as_deref().map(pidfd::connect).transpose()?;
    let joined = join::join(&container, &plan, &options.cgroup, log)?;
    let pidfd_sent = pidfd_socket.map_or(Ok(()), |socket| pidfd::send(&socket, pidfd::OF_EXEC, &joined.pidfd));
    let begun = pidfd_sent.and_then(|()| begin(&joined, options.pid_file.as_deref(), log));
    if let Err(error) = begun {
        child::kill(joined.pid, &joined.pidfd);
        return Err(error);
    }
    if options.detach {
        return Ok(0);
    }
    foreground::wait(joined.pid, &joined.pidfd, joined.streams)
}

/// Lets the process execute its program.
fn begin(joined: &Joined, pid_file: Option<&Path>, log: &Log) -> Result<()> {
    if let Some(path) = pid_file {
        pid_file::write(path, joined.pid.as_raw_nonzero().get())?;
    }
    log.debug(|| compat::DEBUG_CONTINUES.to_owned());
    log.debug(|| compat::DEBUG_EXECS.to_owned());
    joined.channel.send(&Message::Go)?;
    joined.channel.wait_for_exec()
}
