//! What is probed of the host once, before planning: the caller's privileges, and the cgroup
//! hierarchies. Kernel features are not probed: each has its fallback where it is used
//! (docs/KERNEL.md).

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
    /// The caller's permitted capabilities, a bit mask (capget(2)).
    pub capabilities: u64,
    pub cgroups: Layout,
    rootless: OnceCell<bool>,
}

impl Host {
    /// Whether the caller may mount: CAP_SYS_ADMIN. An unprivileged user may only in a user
    /// namespace that is created later.
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

    /// [`is_rootless`], cached.
    pub fn is_rootless(&self) -> bool {
        *self.rootless.get_or_init(is_rootless)
    }

    /// Tests: root with all capabilities, without cgroups.
    #[cfg(test)]
    pub fn root() -> Self {
        let rootless = OnceCell::from(false);
        Host { euid: 0, capabilities: u64::MAX, cgroups: Layout::default(), rootless }
    }

    /// Tests: an unprivileged user.
    #[cfg(test)]
    pub fn unprivileged() -> Self {
        Host { euid: 1000, capabilities: 0, cgroups: Layout::default(), rootless: OnceCell::from(true) }
    }
}

/// Whether the caller is not root of the initial user namespace: an unprivileged user, or root
/// of another user namespace, as under rootless podman. Called only after an operation was
/// refused, so that root does not pay for reading uid_map.
pub fn is_rootless() -> bool {
    // The initial user namespace maps every id to itself: user_namespaces(7).
    let all = |text: String| text.split_whitespace().eq(["0", "0", "4294967295"]);
    !rustix::process::geteuid().is_root() || !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(all)
}
