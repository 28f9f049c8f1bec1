//! `firn kill`.

use super::{Context, compat, delete};
use crate::bail;
use crate::error::{Context as _, Result};
use crate::spec;
use crate::state::{self, Record, StateDir, Status};
use crate::sys;
use rustix::fd::AsFd;
use rustix::io::Errno;

#[derive(Debug, clap::Args)]
#[command(after_help = "A signal is a name or a number: TERM, SIGTERM, 15, RTMIN+3, SIGRTMIN+3, 37.")]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", hide_default_value = true)]
    signal: String,
    /// To every process of the container
    #[arg(short, long)]
    all: bool,
    /// ID is a regular expression: all whose ids match (crun)
    #[arg(short, long)]
    regex: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let number = signal(&args.signal)?;
    let id = std::slice::from_ref(&args.id);
    let ids = if args.regex { delete::matching(id, context)? } else { id.to_vec() };
    delete::each(&ids, context, |id| one(id, number, args.all, context))
}

fn one(id: &str, number: i32, all: bool, context: &Context) -> Result<()> {
    let dir = StateDir::look(&context.root, id)?;
    let record = Record::need(&dir)?;
    // Where init is no process 1, the others do not end with it; and they may have
    // outlived it, as under runc.
    let outlive = number == libc::SIGKILL && !record.own_pid_namespace;
    if all || (outlive && !record.cgroup.processes().is_empty()) {
        // Not while another command holds the lock, which may be about to pause it.
        record.cgroup.signal_all(number, dir.try_lock())?;
        return thaw_after(number, &record);
    }
    let init = match Status::of(&dir, &record) {
        Status::Creating | Status::Stopped => None,
        _ => state::process::open(record.pid, record.start_time)?,
    };
    let Some(init) = init else { bail!("{}", compat::NOT_RUNNING) };
    match sys::signal::send(init.as_fd(), number) {
        Err(Errno::SRCH) => bail!("{}", compat::NOT_RUNNING),
        result => result.doing(|| format!("send signal {number} to process {}", record.pid))?,
    }
    thaw_after(number, &record)
}

/// A frozen process of cgroup v1 does not even die.
fn thaw_after(number: i32, record: &Record) -> Result<()> {
    if number == libc::SIGKILL {
        record.cgroup.let_die()?;
    }
    Ok(())
}

/// runc takes an empty word for the default, and so do its callers.
fn signal(text: &str) -> Result<i32> {
    if text.is_empty() {
        return Ok(libc::SIGTERM);
    }
    let Some(number) = spec::signal::number(text) else { bail!("{text:?} is not a signal") };
    Ok(number)
}
