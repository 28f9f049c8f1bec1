//! `firn run`.

use super::create::Common;
use super::{Context, delete, foreground, start};
use crate::child;
use crate::create::console::Console;
use crate::create::notify::Proxy;
use crate::create::{self, Created};
use crate::error::{Context as _, Error, Result};
use crate::sys;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Leave it running and return
    #[arg(short, long)]
    detach: bool,
    /// Keep its state after it has ended
    #[arg(long)]
    keep: bool,
}

impl Args {
    pub fn preserve_fds(&self) -> u32 {
        self.common.preserved()
    }
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    let (detach, keep) = (args.detach, args.keep);
    let mut options = create::Options { run: true, ..args.common.options(context) };
    if !detach {
        sys::prctl::set_child_subreaper().doing(|| "become the parent of orphans")?;
        sys::signal::block_all().doing(|| "block signals")?;
        if matches!(options.console, Console::None) {
            options.console = Console::Foreground;
        }
    } else {
        sys::signal::block_all().doing(|| "block signals")?;
    }
    let created = create::create(&options, &context.log)?;
    let begun = Proxy::listen(&created.dir).and_then(|proxy| begin(&created).map(|()| proxy));
    let proxy = match begun {
        Ok(proxy) => proxy,
        Err(error) => return Err(undo(created, context, error)),
    };
    if detach {
        return wait_until_ready(&created, proxy);
    }
    if let Some(proxy) = proxy {
        forward(&created, proxy)?;
    }
    let Created { dir, record, plan, pid, pidfd, near, .. } = created;
    // Others may pause or delete it while it runs.
    dir.unlock()?;
    let status = foreground::wait(pid, &pidfd, near);
    if !keep && dir.lock_again()? {
        delete::after(&status, dir, &record, &plan.hooks.poststop, &context.log)?;
    }
    status
}

fn wait_until_ready(created: &Created, proxy: Option<Proxy>) -> Result<u8> {
    if let Some(proxy) = proxy {
        // Others may pause or delete it meanwhile.
        created.dir.unlock()?;
        // It may take as long as it likes: whoever waits for us may give up.
        sys::signal::unblock_all().doing(|| "unblock signals")?;
        proxy.pass_on(&created.pidfd, created.record.pid)?;
    }
    Ok(0)
}

/// Beside the foreground, whose process is the main one to the service manager.
fn forward(created: &Created, proxy: Proxy) -> Result<()> {
    let init = created.pidfd.try_clone().doing(|| "watch the container")?;
    let own = std::process::id() as i32;
    // What can't be told to the service manager is its timeout's affair.
    let thread = std::thread::Builder::new().spawn(move || drop(proxy.pass_on(&init, own)));
    thread.map(drop).doing(|| "make a thread for readiness")
}

/// Waits until init has become its program, then runs the hooks of that moment.
fn begin(created: &Created) -> Result<()> {
    let Created { channel, plan, record, .. } = created;
    if let Some(error) = channel.last_words()? {
        return Err(Error::of_init(error));
    }
    start::poststart(&plan.hooks, record)
}

fn undo(created: Created, context: &Context, error: Error) -> Error {
    child::kill(created.pid, &created.pidfd);
    let Created { dir, record, plan, .. } = created;
    let cleared = delete::end(&record).and_then(|()| delete::destroy(dir, &record, &plan.hooks.poststop, &context.log));
    if let Err(error) = cleared {
        context.log.warn(&format!("clear up after the error that follows: {}", error.chain()));
    }
    error
}
