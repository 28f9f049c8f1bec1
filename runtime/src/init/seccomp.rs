//! The container's seccomp filter.
//!
//! Loaded before "ready": what waits for `start` may be ptraced by a container that shares
//! the pid namespace and has CAP_SYS_PTRACE, which would make it issue the system calls that
//! its own filter denies.
//!
//! The filter must allow what init still calls: capset where no_new_privs is off and the
//! container lacks CAP_SYS_ADMIN, read and write, execve; and what startContainer hooks take.

use super::context::ProcessState;
use crate::bail;
use crate::error::{Context, Result};
use crate::ipc::protocol::{Channel, Message};
use crate::seccomp::Filter;
use crate::sys;
use rustix::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// In the process that sets the container up, unless the filter denies it the clone of the
/// program's process. `runtime`: the channel for a listener.
pub fn load_early(state: &ProcessState<'_>, runtime: &Channel) -> Result<()> {
    match (state.filter, state.is_intermediate) {
        _ if state.loads_filter_late => Ok(()),
        (Some(filter @ Filter { listener: Some(_), .. }), true) => load_and_send(filter, runtime),
        _ => load_filter(state, runtime),
    }
}

/// In the program's process, where `load_early` did not.
pub fn load_late(state: &ProcessState<'_>, runtime: &Channel) -> Result<()> {
    if state.loads_filter_late { load_filter(state, runtime) } else { Ok(()) }
}

/// Sends the listener from the same thread: a process whose children are in another pid
/// namespace can't create threads (EINVAL, clone(2)). The plan has checked that the filter
/// allows the calls for it (`lets_fork`).
fn load_and_send(filter: &Filter, runtime: &Channel) -> Result<()> {
    let listener = sys::seccomp::load(&filter.program, filter.flags).doing(|| "load linux.seccomp")?;
    let Some(listener) = listener else { bail!("load linux.seccomp: the kernel returned no listener") };
    runtime.send_with(&Message::Filter, listener.as_fd())?;
    runtime.expect(&Message::HandedOver)
}

/// Loads the filter; its listener, if it has one, goes to the agent by way of the runtime.
pub fn load_filter(state: &ProcessState<'_>, runtime: &Channel) -> Result<()> {
    let Some(filter) = state.filter else { return Ok(()) };
    match &filter.listener {
        None => sys::seccomp::load(&filter.program, filter.flags).map(drop).doing(|| "load linux.seccomp"),
        Some(_) => load_with_sender(filter, runtime),
    }
}

/// The listener's descriptor, from the thread that loads the filter to the one that sends it;
/// or one of the negative states.
static LISTENER: AtomicI32 = AtomicI32::new(NOT_LOADED);
const NOT_LOADED: i32 = -1;
const HANDED_OVER: i32 = -2;
const FAILED: i32 = -3;

/// Loads the filter while another thread, to which it does not apply, sends the listener.
/// After the load, any system call of this thread may be notified to the agent, which does
/// not have the listener yet: it would block for ever. So this thread spins in user space
/// until the listener is handed over.
fn load_with_sender(filter: &Filter, runtime: &Channel) -> Result<()> {
    let channel = runtime.try_clone()?;
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    drop(thread.spawn(move || send_listener(&channel)).doing(|| "create the thread that sends the seccomp listener")?);
    let listener = match sys::seccomp::load(&filter.program, filter.flags) {
        Ok(Some(listener)) => listener,
        result => {
            LISTENER.store(FAILED, Ordering::Release);
            result.doing(|| "load linux.seccomp")?;
            bail!("load linux.seccomp: the kernel returned no listener");
        }
    };
    // close(2) may be notified to the agent as well: not before it has the listener.
    let listener = std::mem::ManuallyDrop::new(listener);
    LISTENER.store(listener.as_raw_fd(), Ordering::Release);
    loop {
        match LISTENER.load(Ordering::Acquire) {
            HANDED_OVER => {
                // The agent alone may answer notifications.
                drop(std::mem::ManuallyDrop::into_inner(listener));
                return Ok(());
            }
            FAILED => bail!("load linux.seccomp: the runtime did not take the listener"),
            _ => std::hint::spin_loop(),
        }
    }
}

/// The sending thread: waits for the descriptor, sends it and ends, before the program runs:
/// it is not filtered.
fn send_listener(channel: &Channel) -> ! {
    let listener = loop {
        match LISTENER.load(Ordering::Acquire) {
            NOT_LOADED => std::thread::sleep(std::time::Duration::from_micros(20)),
            FAILED => sys::exec::exit_thread(),
            number => break number,
        }
    };
    let sent = sys::fds::duplicate(listener).doing(|| "duplicate the seccomp listener").and_then(|listener| {
        channel.send_with(&Message::Filter, listener.as_fd())?;
        channel.expect(&Message::HandedOver)
    });
    LISTENER.store(if sent.is_ok() { HANDED_OVER } else { FAILED }, Ordering::Release);
    // No clean-up of the C library: it takes locks, and the filtered thread, which could wait
    // for one, would do so by futex(2).
    sys::exec::exit_thread()
}
