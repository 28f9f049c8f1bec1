//! Into the container's cgroup, before the namespace that starts there is made.

use super::Init;
use crate::create::protocol::Message;
use crate::error::{Context, Result};
use crate::sys;

pub fn enter(init: &mut Init<'_>) -> Result<()> {
    if init.plan.cgroup.unit.is_some() && !init.options.no_cgroup {
        // systemd makes the scope around us.
        init.channel.expect(&Message::Placed)?;
    } else {
        init.entry.enter()?;
    }
    sys::sched::reset_affinity().doing(|| "leave the processors to the cgroup")
}
