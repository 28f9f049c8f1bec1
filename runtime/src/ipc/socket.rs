//! Unix sockets of the host, for passing descriptors.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::mem::MaybeUninit;
use std::path::Path;

/// Connects to the stream socket at `path`. Errors: those of connect(2), also for more than
/// 108 bytes (unix(7)).
pub fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends `word` and a descriptor (SCM_RIGHTS) by one sendmsg(2).
pub fn send(socket: impl AsFd, word: &[u8], fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(word)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// recvmsg(2) of up to `room` bytes, and of the descriptor, if one is attached.
pub fn receive(socket: impl AsFd, room: usize) -> rustix::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = vec![0; room];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let length = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut word)], &mut control, flags) {
            Err(Errno::INTR) => {}
            result => break result?.bytes,
        }
    };
    word.truncate(length);
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((word, fd))
}
