//! Tells the container's manager what init is at, over the datagram socket that
//! NOTIFY_SOCKET names (the protocol of sd_notify(3)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The environment variable that names the socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Where messages go; nowhere when nobody asked for them.
#[derive(Debug)]
pub struct Notifier {
    address: Option<OsString>,
}

impl Notifier {
    /// The socket that the environment names.
    pub fn from_env() -> Self {
        Self { address: std::env::var_os(VARIABLE).filter(|address| !address.is_empty()) }
    }

    /// Sends one message. A failure is a warning and no more: a container
    /// doesn't end because nobody listens.
    pub fn send(&self, message: &str) {
        let Some(address) = &self.address else { return };
        if let Err(error) = send_to(address, message) {
            crate::say("warning", &format!("send {message} to {address:?}: {error}"));
        }
    }
}

fn send_to(address: &OsStr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A manager that doesn't read must not stop init from reaping.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &parse(address)?)?;
    Ok(())
}

fn parse(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(address),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an absolute path nor an abstract name (@NAME)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_abstract() {
        assert!(parse(OsStr::new("/run/host/notify")).expect("path").as_pathname().is_some());
        let named = parse(OsStr::new("@name")).expect("abstract");
        assert_eq!(named.as_abstract_name(), Some(&b"name"[..]));
        assert!(parse(OsStr::new("vsock:2:1")).is_err());
        assert!(parse(OsStr::new("relative")).is_err());
    }

    #[test]
    fn without_a_socket_nothing_is_sent() {
        Notifier { address: None }.send("READY=1");
    }
}
