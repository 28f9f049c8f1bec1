//! `exec`: another process in a running container.
//!
//! A process in the container's pid namespace with CAP_SYS_PTRACE can take over any process
//! that it sees there: its root, its descriptors, its capabilities (CVE-2016-9962). So an
//! intermediate process joins the namespaces by setns(2) on the pidfd of init, which moves
//! only its children into the pid namespace, and takes on root, user, capabilities and
//! filter of the program. Then it forks the program's process, the first to be seen.

#![deny(clippy::disallowed_methods)]

mod cgroup;
mod context;
mod enter;
pub mod mounts;
mod pids_limit;
mod steps;

use crate::bail;
use crate::cgroup::systemd;
use crate::compat;
use crate::create::{scheduler, serve};
use crate::error::Context;
use crate::error::{Error, Result};
use crate::init::context::ProcessState;
use crate::ipc::child::{self, open_sibling};
use crate::ipc::pair::{ConsolePair, StreamEnds};
use crate::ipc::protocol::{Channel, Message};
use crate::ipc::seccomp_agent::{self, ContainerProcessState};
use crate::ipc::watch::Watch;
use crate::ipc::{console, streams};
use crate::log::Log;
use crate::plan::ExecPlan;
use crate::plan::process::ProcessPlan;
use crate::plan::seccomp::lets_fork;
use crate::seccomp::Filter;
use crate::state::Status;
use crate::state::container::Container;
use crate::sys;
use crate::sys::clone::{self, Fork};
use context::JoinContext;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::Arc;

/// A process that is ready to execute its program, and waits for Go.
#[derive(Debug)]
pub struct Joined {
    /// Its pid in the runtime's pid namespace.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// For Go, and an error of execve(2).
    pub channel: Channel,
    /// The caller's ends of its standard streams, for the foreground.
    pub streams: StreamEnds,
}

/// Joins the planned process to the container, up to where it waits for Go. `below` are the
/// paths of `--cgroup`, relative to the container's cgroup. Errors: those of each step, from
/// the process by its channel; no process is left.
pub fn join(container: &Container, plan: &ExecPlan, below: &[String], log: &Log) -> Result<Joined> {
    let ConsolePair { caller, process: process_ends, .. } = console::open(&plan.process.streams)?;
    let namespaces = &plan.namespaces;
    let named_namespaces = namespaces.join.iter().fold(namespaces.new, |all, (kind, _)| all | kind);
    // With a mount namespace of the container's own, setns(2) enters its root.
    let root = if namespaces.makes(clone::NEWNS) { None } else { Some(enter::open_init_root(&container.record)?) };
    let (mut channel, process_end) = Channel::pair()?;
    let (mut intermediate, intermediate_end) = Channel::pair()?;
    let watch = Arc::new(Watch::new(Some(&container.init))?);
    channel.watch(Arc::clone(&watch));
    intermediate.watch(Arc::clone(&watch));
    let handle = cgroup::open_cgroup(container, below)?;
    if let [Some(initial), _] = &plan.process.cpu_affinity {
        // Inherited by the clone, and limited by the cpuset that it is born into.
        sched_setaffinity(None, initial).doing(|| "set process.execCPUAffinity.initial")?;
    }
    log.debug(|| format!("nsexec: affinity: {}", affinity()));
    let (fork, handle, attach) = cgroup::fork_into_cgroup(container, handle)?;
    match fork {
        Fork::Parent { pid, pidfd } => {
            if let Some(unit) = attach {
                let below = below.first().map_or("", String::as_str);
                if let Err(error) = systemd::attach(unit, below, pid.as_raw_nonzero().get()) {
                    child::kill(pid, &pidfd);
                    return Err(error);
                }
                channel.send(&Message::Placed)?;
            }
            drop((process_end, intermediate_end, handle, process_ends));
            let mut listener = None;
            let (pid, pidfd) = wait_for_program((pid, &pidfd), &intermediate, &watch, container, &mut listener)?;
            log.debug(|| format!("{}: the new process is {}", compat::DEBUG_CLONED, pid.as_raw_nonzero()));
            log.debug(|| compat::DEBUG_IN_INIT.to_owned());
            let grouped = container.record.resctrl.as_ref().map_or(Ok(()), |groups| groups.add(pid));
            let agent = FilterHandover { container, filter: plan.seccomp.as_ref(), pid };
            let handed_over =
                grouped.and_then(|()| listener.map_or(Ok(()), |listener| agent.send_notify_fd(&listener)));
            match handed_over.and_then(|()| wait_until_ready(&channel, &plan.process, &agent)) {
                Ok(()) => Ok(Joined { pid, pidfd, channel, streams: caller }),
                Err(error) => {
                    child::kill(pid, &pidfd);
                    Err(error)
                }
            }
        }
        Fork::Child => {
            drop((channel, intermediate, caller));
            streams::install(process_ends.pipes);
            // The foreground has blocked all signals for its signalfd(2), and the mask
            // survives clone and execve.
            let _ = sys::signal::unblock_all();
            let loads_filter_late = plan.seccomp.as_ref().is_some_and(|filter| !lets_fork(filter, &plan.process));
            let state = ProcessState {
                is_intermediate: true,
                loads_filter_late,
                ..ProcessState::new(&plan.process, plan.seccomp.as_ref(), process_ends.console)
            };
            let moved_by_systemd = attach.is_some();
            let parent = Some(intermediate_end);
            steps::run(
                state,
                JoinContext {
                    container,
                    named_namespaces,
                    root,
                    handle,
                    moved_by_systemd,
                    channel: process_end,
                    parent,
                },
            )
        }
    }
}

/// Waits until the intermediate process has forked the program's process and ended. Returns
/// that one's pid and pidfd; in `listener` that of a seccomp filter loaded for it.
fn wait_for_program(
    (intermediate, pidfd): (Pid, &OwnedFd),
    channel: &Channel,
    watch: &Watch,
    container: &Container,
    listener: &mut Option<OwnedFd>,
) -> Result<(Pid, OwnedFd)> {
    let mut left = None;
    let made = loop {
        match channel.receive_with() {
            Ok(Some((Message::Filter, Some(filter)))) => {
                *listener = Some(filter);
                if let Err(error) = channel.send(&Message::HandedOver) {
                    break Err(error);
                }
            }
            Ok(Some((Message::Full, _))) => {
                match pids_limit::move_out(intermediate, container.record.cgroup.pure_v2) {
                    Ok(cgroup) => left = Some(cgroup),
                    Err(error) => break Err(error),
                }
                if let Err(error) = channel.send(&Message::Placed) {
                    break Err(error);
                }
            }
            Ok(Some((Message::Pid(number), _))) => break open_sibling(number),
            Ok(Some(_)) => {
                break Err(Error::new("clone the new process: unexpected message of the intermediate process"));
            }
            Ok(None) => break Err(Error::new("clone the new process: the intermediate process ended before")),
            Err(error) => break Err(error),
        }
    };
    let mut ended = if made.is_ok() { watch.wait(pidfd.as_fd()) } else { Ok(()) };
    if let (Ok((pid, _)), Some(left), Ok(())) = (&made, &left, &ended) {
        ended = pids_limit::move_in(*pid, left, watch);
    }
    // Killed, not waited for: a process of the container could have stopped it.
    child::kill(intermediate, pidfd);
    match (made, ended) {
        (Ok((pid, pidfd)), Err(error)) => {
            child::kill(pid, &pidfd);
            Err(error)
        }
        (made, _) => made,
    }
}

/// The CPU affinity of the caller as a hexadecimal mask, for --debug.
fn affinity() -> String {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let mask = (0..64).filter(|cpu| set.is_set(*cpu)).fold(0u64, |mask, cpu| mask | 1 << cpu);
    format!("{mask:#x}")
}

/// Hands the listener of the program's seccomp filter to the agent.
struct FilterHandover<'a> {
    container: &'a Container,
    filter: Option<&'a Filter>,
    pid: Pid,
}

impl FilterHandover<'_> {
    /// Sends `descriptor` to the agent. Error: the filter has no SCMP_ACT_NOTIFY.
    fn send_notify_fd(&self, descriptor: &OwnedFd) -> Result<()> {
        let agent = self.filter.and_then(|filter| filter.listener.as_ref());
        let Some(agent) = agent else { bail!("linux.seccomp has no listener, but the new process sent one") };
        let (record, pid) = (&self.container.record, self.pid.as_raw_nonzero().get());
        let of = ContainerProcessState { record, status: Status::Running, init: record.pid, pid };
        seccomp_agent::hand_over(descriptor, agent, &of)
    }
}

/// Serves the new process until it is ready: adjusts oom_score_adj, hands over a listener,
/// sets the scheduling policy.
fn wait_until_ready(channel: &Channel, plan: &ProcessPlan, agent: &FilterHandover<'_>) -> Result<()> {
    if let Some(adjustment) = plan.oom_score_adj {
        serve::adjust_oom_score(agent.pid, adjustment)?;
    }
    loop {
        match channel.receive_with()? {
            Some((Message::Ready, _)) => return scheduler::set_policy(plan, agent.pid.as_raw_nonzero().get()),
            Some((Message::Filter, Some(descriptor))) => {
                agent.send_notify_fd(&descriptor)?;
                channel.send(&Message::HandedOver)?;
            }
            Some((other, _)) => bail!("unexpected message {other:?} from the process that sets up the exec"),
            None => bail!("exec: the new process ended before it was ready"),
        }
    }
}
