//! The moment between created and running.

use super::Init;
use crate::create::protocol::Message;
use crate::error::{Context, Result};
use crate::state::start;

/// Everything that can fail for the config's sake has been done.
pub fn ready(init: &mut Init<'_>) -> Result<()> {
    init.channel.send(&Message::Ready)?;
    init.channel.expect(&Message::Go)
}

/// `create`: waits for `start`, which hears of errors from then on. `run` has
/// said Go and listens itself.
pub fn wait(init: &mut Init<'_>) -> Result<()> {
    let errors = match init.start.take() {
        Some(listener) => start::accept(&listener)?,
        None => {
            use rustix::fd::AsFd;
            init.channel.as_fd().try_clone_to_owned().doing(|| "keep the channel for errors")?
        }
    };
    init.task.listener = Some(errors);
    Ok(())
}
