//! The runtime's part in handing the descriptor of a filter with
//! SCMP_ACT_NOTIFY to the agent that answers its calls (config-linux.md,
//! "Seccomp", listenerPath). How it comes out of init: `init/seccomp.rs`.

use super::serve::state;
use super::socket;
use crate::bail;
use crate::error::{Context, Result};
use crate::path::read_all;
use crate::seccomp::Listener;
use crate::state::{Record, Status};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::SendFlags;
use std::path::Path;

/// What init says when its filter is loaded, together with the descriptor.
pub const LOADED: &[u8] = b"L";
/// And what it hears when the agent has it.
pub const HANDED_OVER: &[u8] = b"k";

/// An error text is cut here.
const MAX: usize = 8192;

/// Whose calls the agent is to answer.
#[derive(Debug)]
pub struct Notifier<'a> {
    pub record: &'a Record,
    pub pid: i32,
    pub status: Status,
}

/// Waits until the program runs at the other end of `connection`, and hands the
/// listener over on the way where there is one. Returns the error of a program
/// that could not be run.
pub fn last_words(connection: impl AsFd, listener: Option<&Listener>, of: &Notifier<'_>) -> Result<Option<String>> {
    let connection = connection.as_fd();
    let mut text = Vec::new();
    if let Some(listener) = listener {
        match socket::receive(connection, MAX).doing(|| "hear from init")? {
            (_, Some(filter)) => {
                hand_over(&filter, listener, of).doing(|| format!("seccomp listener {}", listener.path))?;
                rustix::net::send(connection, HANDED_OVER, SendFlags::NOSIGNAL).doing(|| "answer init")?;
            }
            (word, None) if word.is_empty() => bail!("init ended before its seccomp filter was loaded"),
            (word, None) => text = word,
        }
    }
    text.extend(read_all(connection, MAX - 1).doing(|| "hear from init")?);
    Ok((!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned()))
}

/// One packet: the container process state of the specification, and beside it
/// the descriptor.
fn hand_over(filter: &OwnedFd, listener: &Listener, of: &Notifier<'_>) -> Result<()> {
    let mut message = serde_json::json!({
        "ociVersion": of.record.oci_version,
        "fds": ["seccompFd"],
        "pid": of.pid,
        "state": state(of.record, of.status, of.record.pid),
    });
    if !listener.metadata.is_empty() {
        message["metadata"] = listener.metadata.as_str().into();
    }
    let agent = socket::connect(Path::new(&listener.path)).doing(|| "failed to connect with seccomp agent")?;
    let message = message.to_string();
    socket::send(&agent, message.as_bytes(), filter.as_fd()).doing(|| "send the filter's descriptor")
}
