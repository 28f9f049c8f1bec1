//! The address in NOTIFY_SOCKET, for the runtime and the monitor.

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Name of the environment variable.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Parses an address: an absolute path, or `@NAME` in the abstract namespace (sd_notify(3)). Errors:
/// EAFNOSUPPORT for any other, such as `vsock:CID:PORT`; ENAMETOOLONG.
pub fn parse_address(text: &OsStr) -> Result<SocketAddrUnix, Errno> {
    match text.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        path @ [b'/', ..] => SocketAddrUnix::new(path),
        _ => Err(Errno::AFNOSUPPORT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_absolute_paths_or_abstract_names() {
        let parse = |text: &str| parse_address(OsStr::new(text));
        assert_eq!(parse("@name").unwrap().abstract_name(), Some(&b"name"[..]));
        assert_eq!(parse("/run/s").unwrap().path_bytes(), Some(&b"/run/s"[..]));
        for bad in ["vsock:2:1", "relative", ""] {
            assert_eq!(parse(bad), Err(Errno::AFNOSUPPORT), "{bad}");
        }
        assert_eq!(parse(&format!("/{}", "x".repeat(200))), Err(Errno::NAMETOOLONG));
    }
}
