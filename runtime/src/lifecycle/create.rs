//! Creation of a container, in order: lock and record, mount sources, cgroup, clone, serve
//! init, record again. On an error the `CreateTransaction` is rolled back.

use super::prepare::{self, Options, Prepared};
use crate::cgroup::CgroupHandle;
use crate::compat;
use crate::create::transaction::CreateTransaction;
use crate::create::{clone, idmap_mounts, serve};
use crate::error::Result;
use crate::init::{self, InitHandles};
use crate::ipc::pair::{ConsolePair, StreamEnds};
use crate::ipc::protocol::{Channel, Message};
use crate::ipc::watch::Watch;
use crate::ipc::{console, notify, pidfd, streams};
use crate::log::Log;
use crate::mount::sources::{self, Sources};
use crate::network::devices;
use crate::plan::Plan;
use crate::state::{self, Record, StateDir, pid_file};
use crate::sys::clone::Fork;
use crate::sys::fds::CloseBatch;
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use std::path::Path;
use std::sync::Arc;

/// A container whose init has been sent [`Message::Go`].
#[derive(Debug)]
pub struct Created {
    pub dir: StateDir,
    pub record: Record,
    pub plan: Plan,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub channel: Channel,
    /// The caller's ends of its streams, for the foreground.
    pub streams: StreamEnds,
    /// Of a container that starts at once.
    pub notify: Option<notify::Proxy>,
}

/// Creates a container that waits for `start`. Errors: `Kind::AlreadyExists`,
/// `Kind::InvalidId`; what the plan refuses; what the kernel refuses.
pub fn create(options: &Options, log: &Log) -> Result<()> {
    super::require_single_thread()?;
    create_init(options, false, log).map(drop)
}

/// Creates a container. Its init waits for `start`, or with `starts_at_once` runs the
/// program.
pub fn create_init(options: &Options, starts_at_once: bool, log: &Log) -> Result<Created> {
    let prepared = prepare::prepare(options, starts_at_once, log)?;
    let ConsolePair { caller, process, names } = console::open(&prepared.plan.process.streams)?;
    let pidfd_socket = options.pidfd_socket.as_deref().map(pidfd::connect).transpose()?;
    let caller_handles = CallerHandles { streams: process, names, pidfd_socket, pid_file: options.pid_file.as_deref() };

    let mut transaction = CreateTransaction::new(StateDir::create(&options.root, &options.id)?);
    match create_in_order(&mut transaction, &prepared, caller_handles, log) {
        Ok((record, channel, notify)) => {
            let (pid, pidfd, dir) = transaction.commit();
            Ok(Created { dir, record, plan: prepared.plan, pid, pidfd, channel, streams: caller, notify })
        }
        Err(error) => {
            transaction.rollback(&prepared.plan.hooks.poststop, log);
            Err(error)
        }
    }
}

/// Descriptors and paths of the caller.
struct CallerHandles<'a> {
    streams: StreamEnds,
    /// As in [`ConsolePair::names`].
    names: Vec<String>,
    pidfd_socket: Option<OwnedFd>,
    pid_file: Option<&'a Path>,
}

fn create_in_order(
    transaction: &mut CreateTransaction,
    prepared: &Prepared,
    caller_handles: CallerHandles<'_>,
    log: &Log,
) -> Result<(Record, Channel, Option<notify::Proxy>)> {
    let Prepared { config, host, plan } = prepared;
    let mut record = transaction.begin(plan, host, config, caller_handles.names)?;
    let StreamEnds { console, pipes } = caller_handles.streams;
    let mut sources = sources::open_sources(plan, console, host.may_mount())?;
    if sources.are_opened {
        idmap_mounts::map_from_outside(plan, &mut sources, host)?;
        idmap_mounts::mount_layered_root(plan, &mut sources, host)?;
    }
    let cgroup_handle = transaction.create_cgroups_and_resctrl(plan, &mut record)?;
    if record.cgroup.dirs.is_empty() && !record.own_pid_namespace {
        log.warn(compat::NOT_KILLABLE);
    }
    if record.cgroup.unit.is_none() {
        sources.open_cgroups(plan, &record.cgroup)?;
    }
    let start_fifo = if plan.starts_at_once { None } else { Some(state::start::make(transaction.dir()?)?) };
    let (mut channel, init_end) = Channel::pair()?;
    if plan.starts_at_once {
        // `run` has blocked all signals for the foreground; SIGINT and SIGTERM must still end
        // a wait for init.
        channel.watch(Arc::new(Watch::new(None)?));
    }
    let (pid, pidfd) = match clone::clone_init(plan, &sources, &cgroup_handle)? {
        Fork::Parent { pid, pidfd } => (pid, pidfd),
        Fork::Child => {
            streams::install(pipes);
            // Init closes its copy of the state directory: the lock (flock(2)) belongs to the
            // open file description, and would be held as long as init lives.
            drop((channel, transaction.dir.take()));
            init::run(plan, &record, InitHandles { sources, cgroup_handle, channel: init_end, start_fifo })
        }
    };
    transaction.init = Some((pid, pidfd));
    drop(pipes);
    if plan.namespaces.unshares_in_init() {
        serve::wait_for_namespaces(&channel)?;
    }
    if let Some(filter) = &plan.seccomp {
        log.debug(|| format!("seccomp filter flags: {}", filter.flags));
    }
    log.debug(|| format!("{}: init is process {}", compat::DEBUG_CLONED, pid.as_raw_nonzero()));
    if let Some(groups) = &record.resctrl {
        groups.add(pid)?;
    }
    if !plan.net_devices.is_empty() {
        transaction.devices =
            Some(devices::move_in(&plan.net_devices, sources::open_network_namespace(&sources, pid)?, log)?);
    }
    if let Some(adjustment) = plan.process.oom_score_adj {
        serve::adjust_oom_score(pid, adjustment)?;
    }
    serve::map_ids(&channel, plan, &sources, pid, host)?;
    close_init_copies(init_end, sources, cgroup_handle);
    if transaction.enter_unit(plan, &mut record, pid)? {
        channel.send(&Message::Placed)?;
    }
    log.debug(|| compat::DEBUG_IN_INIT.to_owned());
    serve::serve_until_ready(&channel, plan, host, &mut record, transaction)?;
    announce(transaction, &mut record, plan, caller_handles.pidfd_socket, caller_handles.pid_file)?;
    drop(start_fifo);
    // Before the program can send READY=1.
    let notify = if plan.starts_at_once { notify::Proxy::listen(transaction.dir()?)? } else { None };
    log.debug(|| compat::DEBUG_CONTINUES.to_owned());
    channel.send(&Message::Go)?;
    Ok((record, channel, notify))
}

/// Publishes the container: record, pidfd socket, pid file, start FIFO.
fn announce(
    transaction: &CreateTransaction,
    record: &mut Record,
    plan: &Plan,
    pidfd_socket: Option<OwnedFd>,
    pid_file: Option<&Path>,
) -> Result<()> {
    let (dir, (pid, pidfd)) = (transaction.dir()?, transaction.init()?);
    record.begin(*pid, dir)?;
    if let Some(socket) = &pidfd_socket {
        pidfd::send(socket, pidfd::OF_INIT, pidfd)?;
    }
    if let Some(path) = pid_file {
        pid_file::write(path, record.pid)?;
    }
    if plan.starts_at_once { Ok(()) } else { state::start::publish(dir) }
}

/// Closes the runtime's copies of init's descriptors.
fn close_init_copies(init_end: Channel, sources: Sources, cgroup_handle: CgroupHandle) {
    let mut batch = CloseBatch::default();
    sources.into_fds().chain(cgroup_handle.into_fds()).for_each(|fd| batch.add(fd));
    batch.add(init_end.into());
}
