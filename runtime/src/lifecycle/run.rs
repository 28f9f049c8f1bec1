//! `run`: create and start in one; in the foreground it stands in for the program.

use super::create::{self, Created};
use super::prepare::Options;
use super::{delete, foreground, start};
use crate::error::{Context, Error, Result};
use crate::ipc::child;
use crate::ipc::notify::Proxy;
use crate::log::Log;
use crate::plan::request::Console;
use crate::sys;

/// What `run` does with the container when it runs, and when it has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Leave it running and return.
    pub detach: bool,
    /// Keep its state after it has ended.
    pub keep: bool,
}

/// Returns the program's exit status, or 0 where it was left running. All signals are
/// blocked from here on: the foreground passes them on.
pub fn run(mut options: Options, run: RunOptions, log: &Log) -> Result<u8> {
    super::need_one_thread()?;
    if !run.detach {
        sys::prctl::set_child_subreaper().doing(|| "become the parent of orphans")?;
        if options.console == Console::None {
            options.console = Console::Foreground;
        }
    }
    sys::signal::block_all().doing(|| "block signals")?;
    let created = create::make(&options, true, log)?;
    let begun = Proxy::listen(&created.dir).and_then(|proxy| begin(&created).map(|()| proxy));
    let proxy = match begun {
        Ok(proxy) => proxy,
        Err(error) => return Err(undo(created, log, error)),
    };
    if run.detach {
        return wait_until_ready(&created, proxy);
    }
    if let Some(proxy) = proxy {
        pass_readiness_on(&created, proxy)?;
    }
    let Created { dir, record, plan, pid, pidfd, streams, .. } = created;
    // Others may pause or delete it while it runs.
    dir.unlock()?;
    let status = foreground::wait(pid, &pidfd, streams);
    if !run.keep && dir.lock_again()? {
        delete::after_foreground(&status, dir, &record, &plan.hooks.poststop, log)?;
    }
    status
}

fn wait_until_ready(created: &Created, proxy: Option<Proxy>) -> Result<u8> {
    if let Some(proxy) = proxy {
        // Others may pause or delete it meanwhile.
        created.dir.unlock()?;
        // No time limit. Signals are unblocked, so that the caller can interrupt.
        sys::signal::unblock_all().doing(|| "unblock signals")?;
        proxy.pass_on(&created.pidfd, created.record.pid)?;
    }
    Ok(0)
}

/// Beside the foreground, whose process is the main one to the service manager.
fn pass_readiness_on(created: &Created, proxy: Proxy) -> Result<()> {
    let init = created.pidfd.try_clone().doing(|| "watch the container")?;
    let own = std::process::id() as i32;
    // What can't be told to the service manager is its timeout's affair.
    let thread = std::thread::Builder::new().spawn(move || drop(proxy.pass_on(&init, own)));
    thread.map(drop).doing(|| "make a thread for readiness")
}

/// Waits until init has become its program, then runs the hooks of that moment.
fn begin(created: &Created) -> Result<()> {
    let Created { channel, plan, record, .. } = created;
    channel.wait_for_exec()?;
    start::run_poststart(&plan.hooks, record)
}

fn undo(created: Created, log: &Log, error: Error) -> Error {
    child::kill(created.pid, &created.pidfd);
    let Created { dir, record, plan, .. } = created;
    let cleared = delete::kill(&record).and_then(|()| delete::destroy(dir, &record, &plan.hooks.poststop, log));
    if let Err(error) = cleared {
        log.warn(&format!("clear up after the error that follows: {}", error.chain()));
    }
    error
}
