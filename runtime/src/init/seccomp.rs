//! The container's system call filter, loaded before `ready`: what waits for `start`
//! can be traced by a container with CAP_SYS_PTRACE that shares the pid namespace,
//! which would make calls through it that its own filter denies.
//!
//! These calls of init's come after it and have to pass: capset where no_new_privs
//! is off and the container lacks CAP_SYS_ADMIN, write and read, execve; and what
//! startContainer hooks take, where there are some.

use super::context::Task;
use crate::bail;
use crate::error::{Context, Result};
use crate::ipc::protocol::{Channel, Message};
use crate::seccomp::Filter;
use crate::sys;
use rustix::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// By whoever sets the container up, unless the filter would keep it from making the
/// container's process.
pub fn load_early(task: &Task<'_>, runtime: &Channel) -> Result<()> {
    match (task.filter, task.is_intermediate) {
        _ if task.loads_filter_late => Ok(()),
        (Some(filter @ Filter { listener: Some(_), .. }), true) => load_and_send(filter, runtime),
        _ => load_filter(task, runtime),
    }
}

pub fn load_late(task: &Task<'_>, runtime: &Channel) -> Result<()> {
    if task.loads_filter_late { load_filter(task, runtime) } else { Ok(()) }
}

/// A process whose children are in another pid namespace can have no other thread,
/// clone(2). The filter lets the calls pass that it takes (`pid_namespace::lets_fork`).
fn load_and_send(filter: &Filter, runtime: &Channel) -> Result<()> {
    let listener = sys::seccomp::load(&filter.program, filter.flags).doing(|| "load the filter")?;
    let Some(listener) = listener else { bail!("the filter has no listener") };
    runtime.send_with(&Message::Filter, listener.as_fd())?;
    runtime.expect(&Message::HandedOver)
}

/// `runtime` hands the listener over to the agent, where there is one.
pub fn load_filter(task: &Task<'_>, runtime: &Channel) -> Result<()> {
    let Some(filter) = task.filter else { return Ok(()) };
    match &filter.listener {
        None => sys::seccomp::load(&filter.program, filter.flags).map(drop).doing(|| "load the filter"),
        Some(_) => load_with_sender(filter, runtime),
    }
}

/// Where the thread that loads the filter and the one that hands its descriptor
/// over meet: a number that is one of these, or the descriptor.
static LISTENER: AtomicI32 = AtomicI32::new(NOT_LOADED);
const NOT_LOADED: i32 = -1;
const HANDED_OVER: i32 = -2;
const FAILED: i32 = -3;

/// From the moment that the filter is in, any call of this thread may wait for an
/// agent that has yet to get the descriptor. So another thread sends it, to whom
/// the filter does not apply, and this one waits without a system call.
fn load_with_sender(filter: &Filter, runtime: &Channel) -> Result<()> {
    let channel = runtime.try_clone()?;
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    drop(thread.spawn(move || send_listener(&channel)).doing(|| "make the thread that hands the listener over")?);
    let listener = match sys::seccomp::load(&filter.program, filter.flags) {
        Ok(Some(listener)) => listener,
        result => {
            LISTENER.store(FAILED, Ordering::Release);
            result.doing(|| "load the filter")?;
            bail!("the filter has no listener");
        }
    };
    // Until it is handed over, closing it would be a call that waits for ever.
    let listener = std::mem::ManuallyDrop::new(listener);
    LISTENER.store(listener.as_raw_fd(), Ordering::Release);
    loop {
        match LISTENER.load(Ordering::Acquire) {
            HANDED_OVER => {
                // Nobody may answer the container's calls but the agent.
                drop(std::mem::ManuallyDrop::into_inner(listener));
                return Ok(());
            }
            FAILED => bail!("the runtime did not take the listener"),
            _ => std::hint::spin_loop(),
        }
    }
}

/// The other thread: waits for the descriptor, sends it, and ends before the
/// container's own code runs, for it has more rights.
fn send_listener(channel: &Channel) -> ! {
    let listener = loop {
        match LISTENER.load(Ordering::Acquire) {
            NOT_LOADED => std::thread::sleep(std::time::Duration::from_micros(20)),
            FAILED => sys::exec::exit_thread(),
            number => break number,
        }
    };
    let sent = sys::fds::duplicate(listener).doing(|| "find the listener").and_then(|listener| {
        channel.send_with(&Message::Filter, listener.as_fd())?;
        channel.expect(&Message::HandedOver)
    });
    LISTENER.store(if sent.is_ok() { HANDED_OVER } else { FAILED }, Ordering::Release);
    // Without the C library's clean-up: whoever waits for a lock that it takes
    // would make a call.
    sys::exec::exit_thread()
}
