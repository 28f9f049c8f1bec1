//! The runtime's side while init sets up: what takes the caller's privileges or namespaces.

use super::transaction::CreateTransaction;
use super::{hooks, idmap, idmap_mounts, scheduler};
use crate::bail;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::ipc::child::{self, Exit};
use crate::ipc::protocol::{Channel, Message};
use crate::ipc::seccomp_agent::{self, ContainerProcessState};
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::state::oci_state::state_json;
use crate::state::{Record, Status};
use rustix::event::Timespec;
use rustix::fd::OwnedFd;
use rustix::process::Pid;

/// Writes the id maps of init's user namespace, if it is new, and maps the mounts that
/// use it. Init waits for [`Message::Mapped`] first.
pub fn map_ids(channel: &Channel, plan: &Plan, sources: &Sources, pid: Pid, host: &Host) -> Result<()> {
    if let Some(maps) = &plan.id_maps {
        idmap::write(maps, pid, host)?;
        idmap_mounts::map_to_container(plan, sources, pid)?;
        channel.send(&Message::Mapped)?;
    }
    Ok(())
}

/// Waits for [`Message::NamespacesMade`] of an init that unshares its namespaces itself.
pub fn wait_for_namespaces(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Some(Message::NamespacesMade) => Ok(()),
        Some(message) => bail!("unexpected message {message:?} from the process that sets up the container"),
        None => bail!("init ended before its namespaces were created"),
    }
}

/// Serves init's requests until it sends [`Message::Ready`]. Errors: init's failure; a
/// message that is unexpected or repeated; that init ended.
pub fn serve_until_ready(
    channel: &Channel,
    plan: &Plan,
    host: &Host,
    record: &mut Record,
    transaction: &mut CreateTransaction,
) -> Result<()> {
    let is_replaced = !plan.namespaces.joins_pid();
    let mut joined_pid = JoinedPidState { is_replaced, filter: None, received: Vec::new() };
    loop {
        let pid = transaction.init()?.0;
        let number = pid.as_raw_nonzero().get();
        let received = channel.receive_with()?;
        if let Some((message, _)) = &received {
            joined_pid.refuse_unexpected(message, plan)?;
        }
        match received {
            Some((Message::Ready, _)) => {
                joined_pid.replace_init(channel, transaction)?;
                if plan.namespaces.joins_pid() {
                    scheduler::set_policy(&plan.process, transaction.init()?.0.as_raw_nonzero().get())?;
                }
                return Ok(());
            }
            Some((Message::MapMount(number), Some(tree))) => {
                idmap_mounts::map_for_init(plan, number, &tree, pid, host)?;
                channel.answer(&Message::MountMapped)?;
            }
            Some((Message::Filter, Some(filter))) => {
                if plan.loads_filter_late() {
                    joined_pid.replace_init(channel, transaction)?;
                }
                match joined_pid.is_replaced {
                    true => send_notify_fd(&filter, plan, record, transaction)?,
                    // Sent to the agent once the pid of the final process is known.
                    false => joined_pid.filter = Some(filter),
                }
                channel.answer(&Message::HandedOver)?;
            }
            Some((Message::Pid(number), _)) if !joined_pid.is_replaced => {
                transaction.replace_init(number)?;
                joined_pid.is_replaced = true;
                if let Some(filter) = joined_pid.filter.take() {
                    send_notify_fd(&filter, plan, record, transaction)?;
                }
            }
            Some((Message::Hooks, _)) => {
                record.begin_hooks(&plan.hooks, transaction.dir()?)?;
                let state = state_json(record, Status::Creating, number);
                hooks::run("prestart", &plan.hooks.prestart, Some(&record.bundle), &state)?;
                hooks::run("createRuntime", &plan.hooks.create_runtime, Some(&record.bundle), &state)?;
                channel.answer(&Message::HooksDone)?;
            }
            Some((message, _)) => bail!("unexpected message {message:?} from the process that sets up the container"),
            None => bail!("init ended before it was ready: {}", describe_exit(transaction.init()?)),
        }
    }
}

/// State of a creation into a joined pid namespace: init, which stays outside, makes the
/// final process, sends its pid as the last message, and ends. The final process may send
/// first.
struct JoinedPidState {
    /// The final process is known; always so if no pid namespace is joined.
    is_replaced: bool,
    /// The notify descriptor, until the pid of the final process is known.
    filter: Option<OwnedFd>,
    /// Messages so far: each is accepted once.
    received: Vec<Message>,
}

impl JoinedPidState {
    /// A process in a joined pid namespace may be traced, and made to send, by others in it.
    /// So no message is accepted twice, and requests that belong to the set-up only from
    /// init, before the final process takes over.
    fn refuse_unexpected(&mut self, message: &Message, plan: &Plan) -> Result<()> {
        let is_outside = !plan.namespaces.joins_pid() || !self.is_replaced;
        let is_for_outside = matches!(message, Message::Hooks | Message::MapMount(_));
        if self.received.contains(message) || (is_for_outside && !is_outside) {
            bail!("unexpected message {message:?} from the process that sets up the container");
        }
        self.received.push(message.clone());
        Ok(())
    }

    fn replace_init(&mut self, channel: &Channel, transaction: &mut CreateTransaction) -> Result<()> {
        if self.is_replaced {
            return Ok(());
        }
        // It has made the process that has just sent, and only ends now.
        let (_, pidfd) = transaction.init()?;
        child::wait_exited(pidfd, None).doing(|| "wait for the process that set up the container")?;
        match channel.receive_now()? {
            Some(Message::Pid(number)) => transaction.replace_init(number)?,
            _ => bail!("the process that set up the container ended before it made init"),
        }
        self.is_replaced = true;
        Ok(())
    }
}

fn send_notify_fd(notify_fd: &OwnedFd, plan: &Plan, record: &Record, transaction: &CreateTransaction) -> Result<()> {
    let agent = plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
    let Some(agent) = agent else {
        bail!("init sent a notify descriptor, but the seccomp profile has no listenerPath")
    };
    let init = transaction.init()?.0.as_raw_nonzero().get();
    seccomp_agent::hand_over(
        notify_fd,
        agent,
        &ContainerProcessState { record, status: Status::Creating, init, pid: init },
    )
}

/// Writes /proc/PID/oom_score_adj (proc_pid_oom_score_adj(5)). "The runtime MUST set" it
/// (runtime-spec, config.md). Lowering it takes CAP_SYS_RESOURCE: an unprivileged caller
/// gets EACCES, as under runc.
pub fn adjust_oom_score(pid: Pid, adjustment: i32) -> Result<()> {
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    let written = std::fs::write(&path, adjustment.to_string());
    written.doing(|| format!("set process.oomScoreAdj: write {adjustment} to {path}"))
}

/// How an init ended that has closed its channel. A tracer may have made it close it, so
/// it may be alive.
fn describe_exit((pid, pidfd): &(Pid, OwnedFd)) -> String {
    const MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    if !child::wait_exited(pidfd, Some(&MOMENT)).unwrap_or(false) {
        return "it closed its channel, but has not ended".into();
    }
    match child::peek_exit(*pid, pidfd) {
        Ok(Exit::Status(code)) => format!("exit status {code}"),
        Ok(Exit::Signal(9)) => "it was killed, perhaps because the memory limit is too low".into(),
        Ok(Exit::Signal(signal)) => format!("signal {signal}"),
        Err(error) => error.chain(),
    }
}
