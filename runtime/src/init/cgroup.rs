//! Into the container's cgroup, before the namespace that starts there is made.

use super::Init;
use crate::create::protocol::Message;
use crate::error::Result;

pub fn enter(init: &mut Init<'_>) -> Result<()> {
    if init.plan.cgroup.unit.is_some() && !init.options.no_cgroup {
        // systemd makes the scope around us.
        return init.channel.expect(&Message::Placed);
    }
    init.entry.enter()
}
