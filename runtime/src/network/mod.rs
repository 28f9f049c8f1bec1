//! The container's network, as far as it is a runtime's: its loopback device,
//! and devices of the host that become its own.

pub mod devices;
pub mod netlink;

use crate::error::{Context, Result};
use crate::sys::clone;
use netlink::{Message, Socket, UP};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};

/// In a new namespace `lo` is there, is the first, and is down.
const LO: u32 = 1;

pub fn loopback_up() -> Result<()> {
    Socket::open().and_then(|socket| socket.request(&Message::change_link(LO, UP, UP))).doing(|| "bring up lo")
}

/// The same in another namespace.
pub fn loopback_up_in(namespace: BorrowedFd<'_>) -> Result<()> {
    socket_in(namespace)?.request(&Message::change_link(LO, UP, UP)).doing(|| "bring up lo")
}

/// A socket that belongs to another network namespace. The caller is in its own
/// again when this returns.
fn socket_in(namespace: BorrowedFd<'_>) -> Result<Socket> {
    let own = own_namespace()?;
    clone::setns(namespace, clone::NEWNET).doing(|| "visit the container's network namespace")?;
    let socket = Socket::open();
    clone::setns(own.as_fd(), clone::NEWNET).doing(|| "go back to the own network namespace")?;
    socket.doing(|| "open a netlink socket in the container")
}

fn own_namespace() -> Result<rustix::fd::OwnedFd> {
    rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "open the own network namespace")
}
