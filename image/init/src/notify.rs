//! Notifications to the container's manager, by the datagram socket that NOTIFY_SOCKET names
//! (sd_notify(3)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The environment variable that names the socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Sends notifications; none where NOTIFY_SOCKET is not set.
#[derive(Debug)]
pub struct Notifier {
    address: Option<OsString>,
}

impl Notifier {
    /// The socket that the environment names.
    pub fn from_env() -> Self {
        Self { address: std::env::var_os(VARIABLE).filter(|address| !address.is_empty()) }
    }

    /// Sends a message, such as `READY=1`. A failure is a warning.
    pub fn send(&self, message: &str) {
        let Some(address) = &self.address else { return };
        if let Err(error) = send_to(address, message) {
            crate::print_message("warning", &format!("send {message} to {address:?}: {error}"));
        }
    }
}

fn send_to(address: &OsStr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not block process 1, which has to reap.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &parse_address(address)?)?;
    Ok(())
}

fn parse_address(address: &OsStr) -> io::Result<SocketAddr> {
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
        assert!(parse_address(OsStr::new("/run/host/notify")).expect("path").as_pathname().is_some());
        let named = parse_address(OsStr::new("@name")).expect("abstract");
        assert_eq!(named.as_abstract_name(), Some(&b"name"[..]));
        assert!(parse_address(OsStr::new("vsock:2:1")).is_err());
        assert!(parse_address(OsStr::new("relative")).is_err());
    }

    #[test]
    fn without_a_socket_nothing_is_sent() {
        Notifier { address: None }.send("READY=1");
    }
}
