//! The state of a joining process beside its `ProcessState`.

use crate::cgroup::CgroupHandle;
use crate::error::{Error, Result};
use crate::ipc::protocol::Channel;
use crate::state::container::Container;
use rustix::fd::OwnedFd;

/// What it has open, and knows of the container.
#[derive(Debug)]
pub struct JoinContext<'a> {
    /// The container that it joins.
    pub container: &'a Container,
    /// CLONE_NEW* of the namespaces that the config names.
    pub named_namespaces: u64,
    /// The root of init, where the container has no mount namespace of its own.
    pub root: Option<OwnedFd>,
    /// The cgroup to enter.
    pub handle: CgroupHandle,
    /// systemd moves the process into its cgroup.
    pub moved_by_systemd: bool,
    /// Of the program's process to the runtime.
    pub channel: Channel,
    /// Of the intermediate process to the runtime; None in the program's process.
    pub parent: Option<Channel>,
}

impl JoinContext<'_> {
    /// The channel of the intermediate process.
    pub fn parent(&self) -> Result<&Channel> {
        self.parent.as_ref().ok_or_else(|| Error::new("exec: the intermediate process has ended"))
    }
}
