//! What the resident process is asked: JSON, one message in each packet (SOCK_SEQPACKET), with the sockets
//! that it is about (SCM_RIGHTS). Each request has a reply.

use anyhow::{Context, Result, bail};
use firn_network::message::Proxy;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Descriptors in a packet; the kernel takes 253 (unix(7)).
pub const DESCRIPTORS: usize = 200;
/// Bytes of a packet: `DESCRIPTORS` sockets have some twenty thousand.
const LIMIT: usize = 64 << 10;

/// What is wanted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Nothing: the reply says who is served.
    List,
    /// Serve these, whose descriptors come with it.
    Add { container: String, addresses: Vec<IpAddr>, sockets: Vec<Socket> },
    /// Close these; `None`: all of the container, and its name.
    Remove { container: String, sockets: Option<Vec<Socket>> },
}

/// A socket that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Socket {
    /// In the container's network namespace.
    Queries { stream: bool },
    /// On the host.
    Port(Proxy),
}

/// What has been done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Those that are served.
    pub containers: Vec<String>,
    pub error: Option<String>,
}

/// The next request; `None`: there is none any more.
pub async fn receive(connection: &UnixStream) -> Result<Option<(Request, Vec<OwnedFd>)>> {
    loop {
        connection.readable().await?;
        match connection.try_io(Interest::READABLE, || receive_packet(connection.as_fd())) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            packet => {
                let (text, descriptors) = packet?;
                // The end of the connection.
                if text.is_empty() {
                    return Ok(None);
                }
                return Ok(Some((serde_json::from_slice(&text).context("a request")?, descriptors)));
            }
        }
    }
}

/// Replies to the last request: the socket has room for it.
pub fn reply(connection: &UnixStream, reply: &Reply) -> Result<()> {
    send_packet(connection.as_fd(), &serde_json::to_vec(reply).context("write JSON")?, &[])
}

/// Asks, and waits for the reply. Errors: it was not done.
pub fn ask(connection: BorrowedFd<'_>, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<Reply> {
    send_packet(connection, &serde_json::to_vec(request).context("write JSON")?, descriptors)?;
    let (text, _) = receive_packet(connection)?;
    let reply: Reply = serde_json::from_slice(&text).context("the resident process has ended")?;
    match &reply.error {
        Some(error) => bail!("the resident process: {error}"),
        None => Ok(reply),
    }
}

fn send_packet(connection: BorrowedFd<'_>, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        bail!("too many sockets at once");
    }
    sendmsg(connection, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)
        .context("talk to the resident process")?;
    Ok(())
}

fn receive_packet(connection: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; LIMIT];
    let received = recvmsg(connection, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::other("a message is too long"));
    }
    text.truncate(received.bytes);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok((text, rights.flatten().collect()))
}
