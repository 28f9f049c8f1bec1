//! The runtime's part in handing the descriptor of a filter with
//! SCMP_ACT_NOTIFY to the agent that answers its calls (config-linux.md,
//! "Seccomp", listenerPath). How it comes out of init: `init/seccomp.rs`.

use super::serve::state_json;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::path::read_all;
use crate::seccomp::Listener;
use crate::state::{Record, Status};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::mem::MaybeUninit;

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
        match receive(connection).doing(|| "hear from init")? {
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

fn receive(connection: BorrowedFd<'_>) -> rustix::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = vec![0; MAX];
    let message =
        rustix::net::recvmsg(connection, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    word.truncate(message.bytes);
    let mut filter = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            filter = fds.next();
        }
    }
    Ok((word, filter))
}

/// One packet: the container process state of the specification, and beside it
/// the descriptor.
fn hand_over(filter: &OwnedFd, listener: &Listener, of: &Notifier<'_>) -> Result<()> {
    let state: serde_json::Value =
        serde_json::from_str(&state_json(of.record, of.status, of.record.pid)).map_err(|_| Error::new("no state"))?;
    let mut message = serde_json::json!({
        "ociVersion": of.record.oci_version,
        "fds": ["seccompFd"],
        "pid": of.pid,
        "state": state,
    });
    if !listener.metadata.is_empty() {
        message["metadata"] = listener.metadata.as_str().into();
    }
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .doing(|| "make a socket")?;
    let address = SocketAddrUnix::new(&listener.path).doing(|| "its path")?;
    rustix::net::connect(&socket, &address).doing(|| "connect to the agent")?;
    send_with(socket.as_fd(), message.to_string().as_bytes(), filter.as_fd()).doing(|| "send the filter's descriptor")
}

/// Sends `word` and a descriptor in one packet.
pub fn send_with(socket: BorrowedFd<'_>, word: &[u8], fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(word)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
