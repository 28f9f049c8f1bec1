//! Descriptors that come over a Unix socket.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::mem::MaybeUninit;

/// The next packet: its text, and all descriptors that came with it.
pub fn receive(socket: impl AsFd) -> (String, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 16384];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags);
    let length = message.expect("receive from the socket").bytes;
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    (String::from_utf8_lossy(&text[..length]).into_owned(), fds.collect())
}
