//! What a joining process needs beside its task.

use crate::cgroup::CgroupHandle;
use crate::error::{Error, Result};
use crate::ipc::protocol::Channel;
use crate::state::container::Container;
use rustix::fd::OwnedFd;

/// Open in it, or known to it.
#[derive(Debug)]
pub struct JoinContext<'a> {
    pub container: &'a Container,
    /// CLONE_NEW* of the namespaces that the config names.
    pub named_namespaces: u64,
    /// Of a container that shares its mount namespace with others.
    pub root: Option<OwnedFd>,
    pub handle: CgroupHandle,
    /// systemd moves us.
    pub moved_by_systemd: bool,
    pub channel: Channel,
    /// Of the intermediate process alone.
    pub parent: Option<Channel>,
}

impl JoinContext<'_> {
    pub fn parent(&self) -> Result<&Channel> {
        self.parent.as_ref().ok_or_else(|| Error::new("exec: the intermediate process has ended"))
    }
}
