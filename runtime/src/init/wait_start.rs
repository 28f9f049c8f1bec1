//! The moment between created and running.

use super::{Init, fds};
use crate::create::protocol::Message;
use crate::error::{Context, Result};
use crate::state::start;
use crate::sys::{self, clone};
use rustix::fd::AsFd;

/// Everything that can fail for the config's sake has been done.
pub fn ready(init: &mut Init<'_>) -> Result<()> {
    init.channel.send(&Message::Ready)?;
    init.channel.expect(&Message::Go)?;
    init.task.listener = match init.start.take() {
        // Who waits for the end of an inherited pipe must not wait for `start`.
        Some(listener) => fds::close_all(init.task.preserve_fds, Some(listener))?,
        None => Some(init.channel.as_fd().try_clone_to_owned().doing(|| "keep the channel for errors")?),
    };
    Ok(())
}

/// `create`: waits for `start`, which hears of errors from then on. `run` has
/// said Go and listens itself.
pub fn wait(init: &mut Init<'_>) -> Result<()> {
    if init.options.run {
        return Ok(());
    }
    if init.plan.namespaces.makes(clone::NEWPID) {
        // Process 1 is spared what it does not handle, and a container that was
        // only created must end by the signals that end one that runs.
        sys::signal::end_by(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP]);
    }
    if let Some(listener) = init.task.listener.take() {
        init.task.listener = Some(start::accept(&listener)?);
    }
    Ok(())
}
