//! What the resident process is asked: JSON, one message in each packet (SOCK_SEQPACKET), with the sockets
//! that it is about (SCM_RIGHTS). Each request has a reply.

use anyhow::{Context, Result, bail};
use firn_network::message::Proxy;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
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
    /// What is served for a container, and for whom else.
    Served { container: String },
    /// A container is about to come: don't end before.
    Expect { container: String },
    /// The descriptors of sockets that the next `Serve` on this connection names.
    Offer { sockets: Vec<Socket> },
    /// Serve these for a container, and nothing else: what was offered, and what is served already, by its address.
    Serve { container: String, addresses: Vec<IpAddr>, sockets: Vec<Socket> },
    /// Close all of a container, and forget its name.
    Forget { container: String },
    /// This container comes no more: end now, if no other is served or expected.
    Leave { container: String },
}

/// A socket that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Socket {
    /// In the container's network namespace; whether other names than containers' are asked for.
    Queries { stream: bool, forwards: bool },
    /// On the host.
    Port(Proxy),
}

impl Socket {
    /// Whether both wait at the same place, whatever becomes of what comes.
    pub fn is_same_place(&self, other: &Socket) -> bool {
        match (self, other) {
            (Socket::Queries { stream: one, .. }, Socket::Queries { stream: other, .. }) => one == other,
            (Socket::Port(one), Socket::Port(other)) => one.protocol == other.protocol && one.listen == other.listen,
            _ => false,
        }
    }
}

/// What has been done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Those that are served or expected.
    pub containers: Vec<String>,
    /// What is served for the container that was asked for.
    #[serde(default)]
    pub sockets: Vec<Socket>,
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
    let text = serde_json::to_vec(reply).context("write JSON")?;
    send_packet(connection.as_fd(), &text, &[]).context("reply")
}

/// Asks, and waits for the reply; `None`: it ends just now. Errors: it was not done.
pub fn ask(connection: BorrowedFd<'_>, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<Option<Reply>> {
    let is_end = |error: &io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    let text = serde_json::to_vec(request).context("write JSON")?;
    let received = send_packet(connection, &text, descriptors).and_then(|()| receive_packet(connection));
    let text = match received {
        Ok((text, _)) => text,
        Err(error) if is_end(&error) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("the process firn-network reside does not answer: if it is stopped, kill it")
        }
        Err(error) => return Err(error).context("talk to the process firn-network reside"),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let reply: Reply = serde_json::from_slice(&text).context("a reply of firn-network reside")?;
    match &reply.error {
        Some(error) => bail!("firn-network reside: {error}"),
        None => Ok(Some(reply)),
    }
}

fn send_packet(connection: BorrowedFd<'_>, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many sockets at once"));
    }
    sendmsg(connection, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_packet(connection: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; LIMIT];
    let received = recvmsg(connection, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a message is too long, or no descriptor is free"));
    }
    text.truncate(received.bytes);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok((text, rights.flatten().collect()))
}
