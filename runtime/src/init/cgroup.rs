//! The container's cgroup, entered before its cgroup namespace is created: that begins at
//! the cgroup of the caller, cgroup_namespaces(7).

use super::context::Init;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::sys;

/// Enters the cgroup, or waits until systemd has moved init into its scope.
pub fn enter(init: &mut Init<'_>) -> Result<()> {
    if init.plan.cgroup.unit.is_some() {
        // StartTransientUnit of the runtime's side moves this process.
        init.channel.expect(&Message::Placed)?;
    } else {
        init.cgroup_handle.enter()?;
    }
    sys::sched::reset_affinity().doing(|| "reset the CPU affinity (sched_setaffinity)")
}
