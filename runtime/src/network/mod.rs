//! The network as far as a runtime configures it: the loopback device, and `linux.netDevices`.

pub mod devices;
pub mod netlink;

use crate::error::{Context, Result};
use crate::sys::clone;
use netlink::{Message, Socket, UP};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};

/// Index of `lo`: the first device of every network namespace, down at first.
const LO: u32 = 1;

/// Sets `lo` up in the caller's network namespace.
pub fn loopback_up() -> Result<()> {
    Socket::open().and_then(|socket| socket.request(&Message::change_link(LO, UP, UP))).doing(|| "set lo up")
}

/// Sets `lo` up in another network namespace.
pub fn loopback_up_in(namespace: BorrowedFd<'_>) -> Result<()> {
    socket_in(namespace)?.request(&Message::change_link(LO, UP, UP)).doing(|| "set lo up")
}

/// A netlink socket in another network namespace. The caller joins it to open the socket, and
/// returns to its own.
fn socket_in(namespace: BorrowedFd<'_>) -> Result<Socket> {
    let own = own_namespace()?;
    clone::setns(namespace, clone::NEWNET).doing(|| "setns to the container's network namespace")?;
    let socket = Socket::open();
    clone::setns(own.as_fd(), clone::NEWNET).doing(|| "setns to the caller's network namespace")?;
    socket.doing(|| "open a netlink socket in the container")
}

fn own_namespace() -> Result<rustix::fd::OwnedFd> {
    rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "open the caller's network namespace")
}
