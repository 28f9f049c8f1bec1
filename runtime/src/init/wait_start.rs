//! The wait between `create` and `start`. The waiting process is seen in a shared pid
//! namespace and may be ptraced there with CAP_SYS_PTRACE. So by then it has the container's
//! user, capabilities and filter, and no descriptor of the host's but the FIFO of `start`.

use super::context::Init;
use super::exec;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::state::start;
use crate::sys::{self, clone};
use rustix::fd::AsFd;

/// Prepares execve before the filter is loaded, which may deny the calls for it.
pub fn prepare_init_exec(init: &mut Init<'_>) -> Result<()> {
    if init.start_fifo.is_some() && init.plan.namespaces.makes(clone::NEWPID) {
        // The kernel drops signals to process 1 that have no handler, pid_namespaces(7):
        // `kill` of a created container must end it as one that runs.
        sys::signal::exit_on(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP]);
    }
    let kept: Vec<_> = init.start_fifo.iter().map(AsFd::as_fd).chain([init.channel.as_fd()]).collect();
    exec::prepare_exec(&mut init.state, &kept)?;
    if init.start_fifo.is_some() && init.record.owner != 0 && !init.plan.namespaces.joins_pid() {
        // setns(2) by the pidfd of a process that is not dumpable takes CAP_SYS_PTRACE in the
        // user namespace of its memory, which is the caller's here: ptrace(2), "Ptrace access
        // mode checking". An unprivileged user lacks it, and `exec` may come before `start`.
        sys::prctl::set_dumpable(true).doing(|| "set PR_SET_DUMPABLE 1")?;
    }
    Ok(())
}

/// Tells the runtime that no error of the config is left, and waits for Go.
pub fn report_ready(init: &mut Init<'_>) -> Result<()> {
    init.channel.send(&Message::Ready)?;
    init.channel.expect(&Message::Go)?;
    init.state.go_received = true;
    Ok(())
}

/// `create`: waits until `start` opens the FIFO; errors go there from then on. For `run` there
/// is no FIFO: Go was the start.
pub fn wait_for_start(init: &mut Init<'_>) -> Result<()> {
    init.start_fifo.as_ref().map_or(Ok(()), start::wait)
}
