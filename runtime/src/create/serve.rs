//! The runtime's side while init works: what only the outside can do for it.

use super::transaction::CreateTransaction;
use super::{hooks, idmap, idmap_mounts, scheduler};
use crate::bail;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::ipc::child::{self, Exit};
use crate::ipc::protocol::{Channel, Message};
use crate::ipc::seccomp_agent::{self, ProcessState};
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::state::oci_state::state_json;
use crate::state::{Record, Status};
use rustix::event::Timespec;
use rustix::fd::OwnedFd;
use rustix::process::Pid;

/// Writes the id maps of init's user namespace, if it has one, and of the mounts that
/// show the container's ids. Init waits for it before it does anything.
pub fn map_ids(channel: &Channel, plan: &Plan, sources: &Sources, pid: Pid, host: &Host) -> Result<()> {
    if let Some(maps) = &plan.id_maps {
        idmap::write(maps, pid, host)?;
        idmap_mounts::map_to_container(plan, sources, pid)?;
        channel.send(&Message::Mapped)?;
    }
    Ok(())
}

/// Until a process that makes its namespaces by itself has done so.
pub fn wait_for_namespaces(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Some(Message::NamespacesMade) => Ok(()),
        Some(message) => bail!("init said {message:?} out of turn"),
        None => bail!("init ended before its namespaces were made"),
    }
}

/// Does what init asks for, in its order, until it is ready.
pub fn until_ready(
    channel: &Channel,
    plan: &Plan,
    host: &Host,
    record: &mut Record,
    transaction: &mut CreateTransaction,
) -> Result<()> {
    let is_replaced = !plan.namespaces.joins_pid();
    let mut waits = Waits { is_replaced, filter: None, heard: Vec::new() };
    loop {
        let pid = transaction.init()?.0;
        let number = pid.as_raw_nonzero().get();
        let received = channel.receive_with()?;
        if let Some((message, _)) = &received {
            waits.refuse_twice(message, plan)?;
        }
        match received {
            Some((Message::Ready, _)) => {
                waits.replace(channel, transaction)?;
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
                    waits.replace(channel, transaction)?;
                }
                match waits.is_replaced {
                    true => hand_over(&filter, plan, record, transaction)?,
                    // To the agent when it is known whose it is.
                    false => waits.filter = Some(filter),
                }
                channel.answer(&Message::HandedOver)?;
            }
            Some((Message::Pid(number), _)) if !waits.is_replaced => {
                transaction.replace_init(number)?;
                waits.is_replaced = true;
                if let Some(filter) = waits.filter.take() {
                    hand_over(&filter, plan, record, transaction)?;
                }
            }
            Some((Message::Hooks, _)) => {
                record.begin_hooks(&plan.hooks, transaction.dir()?)?;
                let state = state_json(record, Status::Creating, number);
                hooks::run("prestart", &plan.hooks.prestart, Some(&record.bundle), &state)?;
                hooks::run("createRuntime", &plan.hooks.create_runtime, Some(&record.bundle), &state)?;
                channel.answer(&Message::HooksDone)?;
            }
            Some((message, _)) => bail!("init said {message:?} out of turn"),
            None => bail!("init ended before it was ready: {}", ending(transaction.init()?)),
        }
    }
}

/// What is still to come where a pid namespace is joined: the process that sets the
/// container up tells which one it has made, as its last word. That one may speak
/// first.
struct Waits {
    is_replaced: bool,
    filter: Option<OwnedFd>,
    /// What may come once.
    heard: Vec<Message>,
}

impl Waits {
    /// A process in a pid namespace of others' may be made to speak by whoever traces it:
    /// nothing is done twice, and nothing for it that is done for who sets the container up.
    fn refuse_twice(&mut self, message: &Message, plan: &Plan) -> Result<()> {
        let is_outside = !plan.namespaces.joins_pid() || !self.is_replaced;
        let is_for_outside = matches!(message, Message::Hooks | Message::MapMount(_));
        if self.heard.contains(message) || (is_for_outside && !is_outside) {
            bail!("init said {message:?} out of turn");
        }
        self.heard.push(message.clone());
        Ok(())
    }

    fn replace(&mut self, channel: &Channel, transaction: &mut CreateTransaction) -> Result<()> {
        if self.is_replaced {
            return Ok(());
        }
        // It has made the one that has just spoken, and has nothing left to do.
        let (_, pidfd) = transaction.init()?;
        child::until_end(pidfd, None).doing(|| "wait for the process that sets the container up")?;
        match channel.receive_now()? {
            Some(Message::Pid(number)) => transaction.replace_init(number)?,
            _ => bail!("the process that set the container up has ended early"),
        }
        self.is_replaced = true;
        Ok(())
    }
}

fn hand_over(filter: &OwnedFd, plan: &Plan, record: &Record, transaction: &CreateTransaction) -> Result<()> {
    let agent = plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
    let Some(agent) = agent else { bail!("init sent the listener of a filter that has none") };
    let init = transaction.init()?.0.as_raw_nonzero().get();
    seccomp_agent::hand_over(filter, agent, &ProcessState { record, status: Status::Creating, init, pid: init })
}

/// How readily the kernel ends the process when memory runs out, proc_pid_oom_score_adj(5).
/// "The runtime MUST set" it (runtime-spec, config.md), and to lower it takes
/// CAP_SYS_RESOURCE: an ordinary user gets an error, as under runc.
pub fn adjust_oom_score(pid: Pid, adjustment: i32) -> Result<()> {
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    let written = std::fs::write(&path, adjustment.to_string());
    written.doing(|| format!("set process.oomScoreAdj: write {adjustment} to {path}"))
}

/// Of an init that has closed its channel. Who traces it may have made it do so, and
/// then it lives on.
fn ending((pid, pidfd): &(Pid, OwnedFd)) -> String {
    const MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    if !child::until_end(pidfd, Some(&MOMENT)).unwrap_or(false) {
        return "it has closed its channel and not ended".into();
    }
    match child::look_at_exit(*pid, pidfd) {
        Ok(Exit::Status(code)) => format!("exit status {code}"),
        Ok(Exit::Signal(9)) => "it was killed, as by a memory limit that is too small for it".into(),
        Ok(Exit::Signal(signal)) => format!("signal {signal}"),
        Err(error) => error.chain(),
    }
}
