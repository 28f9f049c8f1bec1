//! What is asked of the host once, before planning: whose rights the runtime
//! has, and where the cgroup hierarchies are. Kernel features are not probed
//! ahead: each has its fallback where it is used (docs/KERNEL.md).

pub mod cgroup_layout;
pub mod proc_cgroup;

use crate::error::{Context, Result};
use crate::sys;
use crate::sys::caps::SYS_ADMIN;
use cgroup_layout::Layout;
use std::cell::OnceCell;

#[derive(Debug)]
pub struct Host {
    /// Effective user id of the caller.
    pub euid: u32,
    /// The caller's permitted capabilities, as a mask.
    pub capabilities: u64,
    pub cgroups: Layout,
    rootless: OnceCell<bool>,
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
            rootless: OnceCell::new(),
        })
    }

    /// As [`is_rootless`], looked up once.
    pub fn is_rootless(&self) -> bool {
        *self.rootless.get_or_init(is_rootless)
    }

    /// A host whose root the caller is, with all capabilities and no cgroups.
    #[cfg(test)]
    pub fn root() -> Self {
        let rootless = OnceCell::from(false);
        Host { euid: 0, capabilities: u64::MAX, cgroups: Layout::default(), rootless }
    }

    /// The same for a caller who is an ordinary user.
    #[cfg(test)]
    pub fn ordinary() -> Self {
        Host { euid: 1000, capabilities: 0, cgroups: Layout::default(), rootless: OnceCell::from(true) }
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
