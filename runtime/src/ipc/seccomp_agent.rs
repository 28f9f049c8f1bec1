//! The runtime's part in handing the descriptor of a filter with
//! SCMP_ACT_NOTIFY to the agent that answers its calls (config-linux.md,
//! "Seccomp", listenerPath). How it comes out of init: `init/seccomp.rs`.

use super::socket;
use crate::error::{Context, Result};
use crate::seccomp::Listener;
use crate::state::oci_state::state;
use crate::state::{Record, Status};
use rustix::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Whose calls the agent is to answer.
#[derive(Debug)]
pub struct ProcessState<'a> {
    pub record: &'a Record,
    pub status: Status,
    /// The container's init, as the host counts.
    pub init: i32,
    /// The process whose filter it is.
    pub pid: i32,
}

/// One packet: the container process state of the specification, and beside it
/// the descriptor.
pub fn hand_over(filter: &OwnedFd, listener: &Listener, of: &ProcessState<'_>) -> Result<()> {
    let what = || format!("seccomp listener {}", listener.path);
    let mut message = serde_json::json!({
        "ociVersion": of.record.oci_version,
        "fds": ["seccompFd"],
        "pid": of.pid,
        "state": state(of.record, of.status, of.init),
    });
    if !listener.metadata.is_empty() {
        message["metadata"] = listener.metadata.as_str().into();
    }
    let agent = socket::connect(Path::new(&listener.path));
    let agent = agent.doing(|| "failed to connect with seccomp agent").doing(what)?;
    let message = message.to_string();
    socket::send(&agent, message.as_bytes(), filter.as_fd()).doing(|| "send the filter's descriptor").doing(what)
}
