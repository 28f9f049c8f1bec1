//! The moment between created and running. What waits here is seen by whoever
//! shares the pid namespace, and may be traced with CAP_SYS_PTRACE: so it is the
//! container's user by now, with the container's capabilities, under its filter,
//! and with no descriptor of the host's but the FIFO of `start`.

use super::context::Init;
use super::exec;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::state::start;
use crate::sys::{self, clone};
use rustix::fd::AsFd;

/// Before the filter, which may deny the calls.
pub fn prepare_exec(init: &mut Init<'_>) -> Result<()> {
    if init.start_fifo.is_some() && init.plan.namespaces.makes(clone::NEWPID) {
        // Process 1 is spared what it does not handle, and a container that was
        // only created must end by the signals that end one that runs.
        sys::signal::exit_on(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP]);
    }
    let kept: Vec<_> = init.start_fifo.iter().map(AsFd::as_fd).chain([init.channel.as_fd()]).collect();
    exec::prepare_exec(&mut init.task, &kept)?;
    if init.start_fifo.is_some() && init.record.owner != 0 && !init.plan.namespaces.joins_pid() {
        // An ordinary user has no right over the user namespace in which init's memory was
        // made, which joining the namespaces of a process that is not dumpable takes:
        // ptrace(2), "Ptrace access mode checking". `exec` may come before `start`.
        sys::prctl::set_dumpable(true).doing(|| "open this process to the caller")?;
    }
    Ok(())
}

/// Everything that can fail for the config's sake has been done.
pub fn report_ready(init: &mut Init<'_>) -> Result<()> {
    init.channel.send(&Message::Ready)?;
    init.channel.expect(&Message::Go)?;
    init.task.go_received = true;
    Ok(())
}

/// `create`: waits for `start`, which hears of errors from then on. `run` has
/// said Go and listens itself.
pub fn wait_for_start(init: &mut Init<'_>) -> Result<()> {
    init.start_fifo.as_ref().map_or(Ok(()), start::wait)
}
