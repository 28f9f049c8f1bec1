//! The runtime's side while init works: what only the outside can do for it.

use super::listener::{self, Notifier};
use super::making::Making;
use super::protocol::{Channel, Message};
use super::sources::Sources;
use super::{Planned, hooks, idmap, idmap_mounts};
use crate::bail;
use crate::child::{self, Exit};
use crate::error::{Context, Result};
use crate::host::Host;
use crate::init::{pid_namespace, sched};
use crate::plan::Plan;
use crate::state::{Record, Status};
use rustix::event::Timespec;
use rustix::fd::OwnedFd;
use rustix::process::Pid;

/// What init needs before it does anything.
pub fn map_ids(channel: &Channel, plan: &Plan, sources: &Sources, pid: Pid, host: &Host) -> Result<()> {
    if let Some(adjustment) = plan.process.oom_score_adj {
        adjust_oom_score(pid, adjustment)?;
    }
    if let Some(maps) = &plan.id_maps {
        idmap::write(maps, pid, host)?;
        idmap_mounts::containers(plan, sources, pid)?;
        channel.send(&Message::Mapped)?;
    }
    Ok(())
}

/// Until a process that makes its namespaces by itself has done so.
pub fn until_apart(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Some(Message::Apart) => Ok(()),
        Some(message) => bail!("init said {message:?} out of turn"),
        None => bail!("init ended before its namespaces were made"),
    }
}

pub fn until_ready(channel: &Channel, planned: &Planned, record: &mut Record, making: &mut Making) -> Result<()> {
    let Planned { plan, host, .. } = planned;
    let is_replaced = !plan.namespaces.joins_pid();
    let mut waits = Waits { is_replaced, filter: None, heard: Vec::new() };
    loop {
        let pid = making.init()?.0;
        let number = pid.as_raw_nonzero().get();
        let received = channel.receive_with()?;
        if let Some((message, _)) = &received {
            waits.refuse_twice(message, plan)?;
        }
        match received {
            Some((Message::Ready, _)) => {
                waits.replace(channel, making)?;
                if plan.namespaces.joins_pid() {
                    sched::set_policy(&plan.process, making.init()?.0.as_raw_nonzero().get())?;
                }
                return Ok(());
            }
            Some((Message::MapMount(number), Some(tree))) => {
                idmap_mounts::of_init(plan, number, &tree, pid, host)?;
                channel.answer(&Message::MountMapped)?;
            }
            Some((Message::Filter, Some(filter))) => {
                if pid_namespace::loads_late(plan) {
                    waits.replace(channel, making)?;
                }
                match waits.is_replaced {
                    true => hand_over(&filter, plan, record, making)?,
                    // To the agent when it is known whose it is.
                    false => waits.filter = Some(filter),
                }
                channel.answer(&Message::HandedOver)?;
            }
            Some((Message::Pid(number), _)) if !waits.is_replaced => {
                making.replace_init(number)?;
                waits.is_replaced = true;
                if let Some(filter) = waits.filter.take() {
                    hand_over(&filter, plan, record, making)?;
                }
            }
            Some((Message::Hooks, _)) => {
                record.begin_hooks(&plan.hooks, making.dir()?)?;
                let state = state_json(record, Status::Creating, number);
                hooks::run("prestart", &plan.hooks.prestart, Some(&record.bundle), &state)?;
                hooks::run("createRuntime", &plan.hooks.create_runtime, Some(&record.bundle), &state)?;
                channel.answer(&Message::HooksDone)?;
            }
            Some((message, _)) => bail!("init said {message:?} out of turn"),
            None => bail!("init ended before it was ready: {}", ending(making.init()?)),
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

    fn replace(&mut self, channel: &Channel, making: &mut Making) -> Result<()> {
        if self.is_replaced {
            return Ok(());
        }
        // It has made the one that has just spoken, and has nothing left to do.
        let (_, pidfd) = making.init()?;
        child::until_end(pidfd, None).doing(|| "wait for the process that sets the container up")?;
        match channel.receive_now()? {
            Some(Message::Pid(number)) => making.replace_init(number)?,
            _ => bail!("the process that set the container up has ended early"),
        }
        self.is_replaced = true;
        Ok(())
    }
}

fn hand_over(filter: &OwnedFd, plan: &Plan, record: &Record, making: &Making) -> Result<()> {
    let agent = plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
    let Some(agent) = agent else { bail!("init sent the listener of a filter that has none") };
    let init = making.init()?.0.as_raw_nonzero().get();
    listener::hand_over(filter, agent, &Notifier { record, status: Status::Creating, init, pid: init })
}

/// How readily the kernel ends the process when memory runs out, proc_pid_oom_score_adj(5).
/// "The runtime MUST set" it (runtime-spec, config.md), and to lower it takes
/// CAP_SYS_RESOURCE: an ordinary user gets an error, as under runc.
pub fn adjust_oom_score(pid: Pid, adjustment: i32) -> Result<()> {
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    let written = std::fs::write(&path, adjustment.to_string());
    written.doing(|| format!("set process.oomScoreAdj: write {adjustment} to {path}"))
}

/// The state that hooks get, runtime.md "State".
pub fn state_json(record: &Record, status: Status, pid: i32) -> String {
    state(record, status, pid).to_string()
}

pub fn state(record: &Record, status: Status, pid: i32) -> serde_json::Value {
    let mut state = serde_json::json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "status": status.name(),
        "pid": pid,
        "bundle": record.bundle,
    });
    if !record.annotations.is_empty() {
        state["annotations"] = serde_json::json!(record.annotations);
    }
    state
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
