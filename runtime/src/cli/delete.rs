//! `firn delete`, and the end of a container however it comes.

use super::Context;
use crate::bail;
use crate::cli::compat;
use crate::create::hooks;
use crate::error::{Context as _, Result};
use crate::log::Log;
use crate::resctrl::Groups;
use crate::spec::hooks::Hook;
use crate::state::{self, Record, StateDir, StateRoot, Status};
use crate::sys::regex::Regex;
use rustix::process::{Signal, pidfd_send_signal};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// End the container first if it runs; an absent one is no error
    #[arg(short, long)]
    force: bool,
    /// ID is a regular expression: all whose ids match (crun)
    #[arg(short, long)]
    regex: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let ids = if args.regex { matching(&args.ids, context)? } else { args.ids.clone() };
    each(&ids, context, |id| one(id, args.force, context))
}

/// Does `act` for every container. One that fails does not keep the others from
/// their turn: each failure is told, and then the exit status is not 0.
pub fn each(ids: &[String], context: &Context, act: impl Fn(&str) -> Result<()>) -> Result<u8> {
    if let [id] = ids {
        return act(id).map(|()| 0);
    }
    let mut status = 0;
    for id in ids {
        if let Err(error) = act(id) {
            context.log.error(&error.chain());
            status = 1;
        }
    }
    Ok(status)
}

/// The ids of all containers that match one of the regular expressions.
pub fn matching(expressions: &[String], context: &Context) -> Result<Vec<String>> {
    let compile = |text: &String| match Regex::new(text) {
        Some(regex) => Ok(regex),
        None => bail!("--regex: {text:?} is not a regular expression"),
    };
    let expressions = expressions.iter().map(compile).collect::<Result<Vec<_>>>()?;
    let ids = StateRoot::open(&context.root)?.map_or(Ok(Vec::new()), |root| root.ids())?;
    Ok(ids.into_iter().filter(|id| expressions.iter().any(|regex| regex.matches(id))).collect())
}

fn one(id: &str, force: bool, context: &Context) -> Result<()> {
    if force {
        kill_init(id, context);
    }
    let dir = match StateDir::find(&context.root, id)? {
        Some(dir) => dir,
        // Absent: that is what was wanted.
        None if force => return Ok(()),
        None => bail!("{}: {id:?}", compat::DOES_NOT_EXIST),
    };
    let Some(record) = record(&dir, force, context)? else { return dir.remove() };
    match Status::of(&dir, &record) {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        _ if force => end(&record)?,
        other => bail!("cannot delete container {id} that is not stopped: {}", other.name()),
    }
    // A create that was cut off may have left half a config.
    let hooks = if record.pid == 0 && !record.hooks_begun { Vec::new() } else { Record::hooks(&dir)?.poststop };
    destroy(dir, &record, &hooks, &context.log)
}

/// Before the lock, which another command holds as long as it waits for something
/// in the container. What goes wrong here shows again when all is cleared up.
fn kill_init(id: &str, context: &Context) {
    let Ok(dir) = StateDir::look(&context.root, id) else { return };
    let Ok(Some(record)) = Record::load(&dir) else { return };
    if let Ok(Some(init)) = state::process::open(record.pid, record.start_time) {
        let _ = record.cgroup.let_die();
        let _ = pidfd_send_signal(&init, Signal::KILL);
    }
}

/// With --force also a record that can't be read gives way: nothing better can
/// be done with it.
fn record(dir: &StateDir, force: bool, context: &Context) -> Result<Option<Record>> {
    match Record::load(dir) {
        Err(error) if force => {
            context.log.warn(&format!("{}; its cgroup, if there is one, stays", error.chain()));
            Ok(None)
        }
        result => result,
    }
}

/// Kills everything in the container, and waits until it is gone.
pub fn end(record: &Record) -> Result<()> {
    if let Some(init) = state::process::open(record.pid, record.start_time)? {
        record.cgroup.let_die()?;
        match pidfd_send_signal(&init, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno).doing(|| format!("kill process {}", record.pid)),
        }
        record
            .cgroup
            .wait_killed(&init)
            .doing(|| format!("container init still running: wait for process {}", record.pid))?;
    }
    record.cgroup.kill_all()
}

/// When the foreground is over. A container that can't be waited for may run on.
pub fn after(waited: &Result<u8>, dir: StateDir, record: &Record, poststop: &[Hook], log: &Log) -> Result<()> {
    if waited.is_err() {
        end(record)?;
    }
    destroy(dir, record, poststop, log)
}

/// Removes all that is left of a container whose processes are gone.
pub fn destroy(dir: StateDir, record: &Record, poststop: &[Hook], log: &Log) -> Result<()> {
    if !record.own_pid_namespace || record.pid == 0 {
        // Other processes did not end with its init, or that is not known.
        record.cgroup.kill_all()?;
    }
    record.cgroup.remove()?;
    record.resctrl.as_ref().map_or(Ok(()), Groups::remove)?;
    dir.remove()?;
    hooks::poststop(poststop, record, log);
    Ok(())
}
