//! What is asked of the host once, before planning: whose rights the runtime
//! has, and where the cgroup hierarchies are. Kernel features are not probed
//! ahead: each has its fallback where it is used (docs/KERNEL.md).

use crate::cgroup::layout::Layout;
use crate::error::{Context, Result};
use crate::sys;

#[derive(Debug)]
pub struct Host {
    /// Effective user id of the caller.
    pub euid: u32,
    /// The caller's permitted capabilities, as a mask.
    pub capabilities: u64,
    pub cgroups: Layout,
}

impl Host {
    pub fn probe() -> Result<Self> {
        Ok(Host {
            euid: rustix::process::geteuid().as_raw(),
            capabilities: sys::caps::permitted().doing(|| "capget")?,
            cgroups: Layout::probe()?,
        })
    }
}
