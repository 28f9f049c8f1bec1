//! How `start` reaches an init that waits: a socket in the state directory. It
//! is there exactly while the container is created and not started. The
//! connection closes on exec, so that `start` sees whether it came to that.

use super::StateDir;
use crate::error::{Context, Result};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::CStr;

pub const SOCKET: &CStr = c"start.sock";

/// The init's end, made before it is.
pub fn listener() -> Result<OwnedFd> {
    socket().doing(|| "make the start socket")
}

fn socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// A socket's path holds 108 bytes: this one is short wherever the root is.
fn address(dir: &StateDir) -> rustix::io::Result<SocketAddrUnix> {
    use rustix::fd::AsFd;
    SocketAddrUnix::new(format!("/proc/self/fd/{}/start.sock", dir.as_fd().as_raw_fd()))
}

/// Makes the socket visible: from here on the container is `created`.
pub fn publish(dir: &StateDir, listener: &OwnedFd) -> Result<()> {
    let bind = || rustix::net::bind(listener, &address(dir)?).and_then(|()| rustix::net::listen(listener, 1));
    bind().doing(|| "publish the start socket")
}

/// Waits, in init, until somebody says start; returns the connection.
pub fn accept(listener: &OwnedFd) -> Result<OwnedFd> {
    let accept = || {
        loop {
            let connection = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            let mut byte = [0u8; 1];
            match rustix::net::recv(&connection, &mut byte, RecvFlags::empty()) {
                // Whoever connected went away without a word.
                Ok((_, 0)) => {}
                Ok(_) => return Ok(connection),
                Err(errno) => return Err(errno),
            }
        }
    };
    accept().doing(|| "wait for start")
}

/// Tells init to start: the container is no longer `created`, whatever becomes of
/// who tells it. The connection brings its error if it can't, and closes when its
/// program runs.
pub fn signal(dir: &StateDir) -> Result<OwnedFd> {
    let connect = || {
        let connection = socket()?;
        rustix::net::connect(&connection, &address(dir)?)?;
        Ok::<_, rustix::io::Errno>(connection)
    };
    let what = || "start the container's init";
    let connection = connect().doing(what)?;
    dir.unlink(SOCKET)?;
    rustix::net::send(&connection, b"1", SendFlags::NOSIGNAL).doing(what)?;
    Ok(connection)
}
