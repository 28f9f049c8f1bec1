//! Sends the notify descriptor of a filter with SCMP_ACT_NOTIFY to the seccomp agent
//! (runtime-spec, config-linux.md, "Seccomp", listenerPath). Init's side:
//! `init/seccomp.rs`.

use super::socket;
use crate::error::{Context, Result};
use crate::seccomp::Listener;
use crate::state::oci_state::state;
use crate::state::{Record, Status};
use rustix::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the container process state (runtime-spec, config-linux.md, "The Container
/// Process State") is made of.
#[derive(Debug)]
pub struct ContainerProcessState<'a> {
    pub record: &'a Record,
    pub status: Status,
    /// Pid of init in the host's pid namespace.
    pub init: i32,
    /// Pid of the process with the filter, in the host's pid namespace.
    pub pid: i32,
}

/// Sends one packet: the container process state as JSON, with the descriptor attached.
/// Errors: those of connect(2) and sendmsg(2).
pub fn hand_over(notify_fd: &OwnedFd, listener: &Listener, of: &ContainerProcessState<'_>) -> Result<()> {
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
    socket::send(&agent, message.as_bytes(), notify_fd.as_fd())
        .doing(|| "send the seccomp notify descriptor")
        .doing(what)
}
