//! `run`: creates and starts a container, and waits for it in the foreground.

use super::create::{self, Created};
use super::prepare::Options;
use super::{delete, foreground, start};
use crate::error::{Context, Error, Result};
use crate::ipc::child;
use crate::ipc::notify::Proxy;
use crate::log::Log;
use crate::plan::request::Console;
use crate::sys;

/// Options of `run`, besides those of `create`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Return when the program runs.
    pub detach: bool,
    /// Keep the state directory after the container has stopped.
    pub keep: bool,
}

/// Returns the program's exit status, or 0 with `detach`. Blocks all signals of the
/// caller: the foreground forwards them.
pub fn run(mut options: Options, run: RunOptions, log: &Log) -> Result<u8> {
    super::require_single_thread()?;
    if !run.detach {
        sys::prctl::set_child_subreaper().doing(|| "PR_SET_CHILD_SUBREAPER")?;
        if options.console == Console::None {
            options.console = Console::Foreground;
        }
    }
    sys::signal::block_all().doing(|| "block signals")?;
    let mut created = create::create_init(&options, true, log)?;
    if let Err(error) = begin(&created) {
        return Err(roll_back(created, log, error));
    }
    let proxy = created.notify.take();
    if run.detach {
        return wait_until_ready(&created, proxy);
    }
    if let Some(proxy) = proxy {
        forward_readiness(&created, proxy)?;
    }
    let Created { dir, record, plan, pid, pidfd, streams, .. } = created;
    // Unlocked: pause and delete must work while it runs.
    dir.unlock()?;
    let status = foreground::wait(pid, &pidfd, streams);
    if !run.keep && dir.relock()? {
        delete::after_foreground(&status, dir, &record, &plan.hooks.poststop, log)?;
    }
    status
}

fn wait_until_ready(created: &Created, proxy: Option<Proxy>) -> Result<u8> {
    if let Some(proxy) = proxy {
        // Unlocked: pause and delete must work meanwhile.
        created.dir.unlock()?;
        // No time limit. Signals are unblocked, so that the caller can interrupt.
        sys::signal::unblock_all().doing(|| "unblock signals")?;
        proxy.forward_ready(&created.pidfd, created.record.pid)?;
    }
    Ok(0)
}

/// Forwards readiness in a thread beside the foreground, with this process as MAINPID.
fn forward_readiness(created: &Created, proxy: Proxy) -> Result<()> {
    let init = created.pidfd.try_clone().doing(|| "duplicate the pidfd of init")?;
    let own = std::process::id() as i32;
    // If it can't be forwarded, the service manager's start timeout applies.
    let thread = std::thread::Builder::new().spawn(move || drop(proxy.forward_ready(&init, own)));
    thread.map(drop).doing(|| "start a thread for NOTIFY_SOCKET")
}

/// Waits until init has executed its program, then runs the poststart hooks.
fn begin(created: &Created) -> Result<()> {
    let Created { channel, plan, record, .. } = created;
    channel.wait_for_exec()?;
    start::run_poststart(&plan.hooks, record)
}

fn roll_back(created: Created, log: &Log, error: Error) -> Error {
    child::kill(created.pid, &created.pidfd);
    let Created { dir, record, plan, .. } = created;
    let cleared = delete::kill(&record).and_then(|()| delete::destroy(dir, &record, &plan.hooks.poststop, log));
    if let Err(error) = cleared {
        log.warn(&format!("roll back after the error that follows: {}", error.chain()));
    }
    error
}
