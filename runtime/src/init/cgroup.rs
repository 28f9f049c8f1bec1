//! Into the container's cgroup, before the namespace that starts there is made.

use super::context::Init;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::sys;

pub fn enter(init: &mut Init<'_>) -> Result<()> {
    if init.plan.cgroup.unit.is_some() {
        // systemd makes the scope around us.
        init.channel.expect(&Message::Placed)?;
    } else {
        init.cgroup_handle.enter()?;
    }
    sys::sched::reset_affinity().doing(|| "leave the processors to the cgroup")
}
