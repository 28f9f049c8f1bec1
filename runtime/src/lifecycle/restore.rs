//! `restore`: creates a container from images of CRIU.

use super::prepare::{self, Options, Prepared};
use super::{delete, foreground};
use crate::create::transaction::CreateTransaction;
use crate::criu::restore::{self, Images, Restore};
use crate::criu::{self, hierarchy};
use crate::error::{Context, Result};
use crate::ipc::console;
use crate::ipc::pair::{ConsolePair, StreamEnds};
use crate::log::Log;
use crate::plan::Plan;
use crate::plan::request::Console;
use crate::state::{Record, StateDir, pid_file};
use crate::sys;
use rustix::fd::OwnedFd;
use rustix::process::Pid;

/// Restores a container. Returns the exit status of its init, or 0 with `detach`.
pub fn restore(mut options: Options, restore: &Restore, detach: bool, log: &Log) -> Result<u8> {
    criu::require_root()?;
    super::require_single_thread()?;
    if !detach {
        sys::prctl::set_child_subreaper().doing(|| "PR_SET_CHILD_SUBREAPER")?;
        sys::signal::block_all().doing(|| "block signals")?;
        if options.console == Console::None {
            options.console = Console::Foreground;
        }
    }
    options.root = std::path::absolute(&options.root).doing(|| format!("--root {}", options.root.display()))?;
    let restored = hierarchy::preserve_options(log, || make(restore, &options, log))?;
    if detach {
        return Ok(0);
    }
    let Restored { dir, record, plan, pid, pidfd, streams } = restored;
    // Unlocked: pause and delete must work while it runs.
    dir.unlock()?;
    let status = foreground::wait(pid, &pidfd, streams);
    if dir.relock()? {
        delete::after_foreground(&status, dir, &record, &plan.hooks.poststop, log)?;
    }
    status
}

/// A restored, running container.
struct Restored {
    dir: StateDir,
    record: Record,
    plan: Plan,
    pid: Pid,
    pidfd: OwnedFd,
    /// The caller's ends of its streams.
    streams: StreamEnds,
}

fn make(restore: &Restore, options: &Options, log: &Log) -> Result<Restored> {
    let Prepared { config, host, plan } = prepare::prepare(options, true, log)?;
    let images = Images::open(restore, &plan)?;
    let ConsolePair { caller, process, names } = console::open(&plan.process.streams)?;

    let mut transaction = CreateTransaction::new(StateDir::create(&options.root, &options.id)?);
    let result = transaction
        .begin(&plan, &host, &config, names)
        .and_then(|record| restore::restore(images, &plan, process, &mut transaction, record, &host, log))
        .and_then(|record| match &options.pid_file {
            Some(path) => pid_file::write(path, record.pid).map(|()| record),
            None => Ok(record),
        });
    match result {
        Ok(record) => {
            let (pid, pidfd, dir) = transaction.commit();
            Ok(Restored { dir, record, plan, pid, pidfd, streams: caller })
        }
        Err(error) => {
            transaction.rollback(&plan.hooks.poststop, log);
            Err(error)
        }
    }
}
