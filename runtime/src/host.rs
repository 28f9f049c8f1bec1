//! What is asked of the host once, before planning: whose rights the runtime
//! has, and where the cgroup hierarchies are. Kernel features are not probed
//! ahead: each has its fallback where it is used (docs/KERNEL.md).

use crate::cgroup::layout::Layout;
use crate::error::{Context, Result};
use crate::plan::capabilities::SYS_ADMIN;
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
    /// Whether the caller may mount in its own mount namespace. An ordinary user
    /// may only in a user namespace, once there is one.
    pub fn may_mount(&self) -> bool {
        self.capabilities & SYS_ADMIN != 0
    }

    pub fn probe() -> Result<Self> {
        Ok(Host {
            euid: rustix::process::geteuid().as_raw(),
            capabilities: sys::caps::permitted().doing(|| "capget")?,
            cgroups: Layout::probe()?,
        })
    }
}

/// The caller has not the machine's root: it is an ordinary user, or root of a
/// user namespace only, as under rootless podman. Asked where something was
/// refused, so that the machine's root does not pay for it.
pub fn is_rootless() -> bool {
    // user_namespaces(7): the first one maps every id to itself.
    let all = |text: String| text.split_whitespace().eq(["0", "0", "4294967295"]);
    !rustix::process::geteuid().is_root() || !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(all)
}
