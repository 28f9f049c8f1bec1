//! The messages on the keeper's socket, `STATE/@keeper/socket`: JSON in packets (SOCK_SEQPACKET), with
//! descriptors by SCM_RIGHTS. A keeper outlives updates of the program, so it knows nothing of what it
//! holds: names are any words.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The keeper's directory beside those of containers, whose names have no `@`.
pub(super) const DIRECTORY: &str = "@keeper";
pub(super) const SOCKET: &str = "socket";

/// Bytes of a message at most.
const MESSAGE_LIMIT: usize = 4096;
/// Descriptors of a container at most.
const FDS: usize = 16;

/// What a monitor wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Request {
    /// Hold the descriptors that come along for a container, in the place of all others.
    Hold {
        container: String,
        /// Their names in their order, separated by spaces.
        names: String,
        /// The name of one that is a pidfd: how that process ends is remembered, also when it was reaped.
        #[serde(default)]
        process: Option<String>,
    },
    /// Copies of all descriptors of a container, with the reply.
    Take { container: String },
    /// Close those of a container.
    Forget { container: String },
}

/// The reply to each request.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) error: Option<String>,
    /// Of the descriptors that come along, as in [`Request::Hold`].
    #[serde(default)]
    pub(super) names: String,
    /// The wait status (wait(2)) of the process of [`Request::Hold`], if it has ended and the keeper has heard.
    #[serde(default)]
    pub(super) ended: Option<i32>,
}

/// Connects to the keeper below `base`. Errors: NOENT and CONNREFUSED where none runs.
pub(super) fn connect_to_keeper(base: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(base.join(DIRECTORY), flags, Mode::empty())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // However long the path of the directory is: sun_path has 108 bytes (unix(7)).
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    connect(&socket, &SocketAddrUnix::new(&*path)?)?;
    Ok(socket)
}

/// Sends a message with descriptors.
pub(super) fn send<Message: Serialize>(
    socket: BorrowedFd<'_>,
    message: &Message,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other(format!("more than {FDS} descriptors")));
    }
    sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL | flags)?;
    Ok(())
}

/// Receives a message with its descriptors; `None` at the end. Errors: EAGAIN; it is no message of this
/// protocol.
pub(super) fn receive<Message: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    flags: RecvFlags,
) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut text = [0; MESSAGE_LIMIT];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let length = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
            Err(Errno::INTR) => {}
            result => break result?.bytes,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    match length {
        0 => Ok(None),
        _ => Ok(Some((serde_json::from_slice(&text[..length])?, fds))),
    }
}

/// Whether the other end is root's or our own user's.
pub(super) fn is_trusted(socket: &OwnedFd) -> bool {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let ours = nix::unistd::geteuid().as_raw();
    getsockopt(&socket.as_fd(), PeerCredentials).is_ok_and(|peer| [0, ours].contains(&peer.uid()))
}
