//! Readiness, by systemd's datagram protocol: a socket that the container
//! writes to, and the service manager's that we write to.

use crate::error::{Context, Result};
use crate::state_dir::StateDir;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::Duration;

const NAME: &str = "notify";

/// systemd's own limit for a message.
const LARGEST: usize = 4096;
const LONGEST_STATUS: usize = 256;
/// Messages taken before the loop looks at anything else.
const AT_ONCE: usize = 32;

/// What a container may tell. All else (MAINPID, FDSTORE …) would be advice to
/// the host's service manager about the monitor, and is not the container's to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Ready,
    Stopping,
    Status(String),
    ExitStatus(u8),
}

/// The socket that is mounted into the container.
#[derive(Debug)]
pub struct Inbox {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Inbox {
    pub fn bind(dir: &StateDir) -> Result<Inbox> {
        dir.remove(NAME)?;
        let path = dir.file(NAME);
        let name = || format!("listen on {}", path.display());
        let socket = UnixDatagram::bind(dir.bind_path(NAME)).context(name)?;
        // Any user of the container may tell; on the host, the folder around
        // the socket lets only its owner pass.
        fs::set_permissions(&path, Permissions::from_mode(0o666)).context(name)?;
        socket.set_nonblocking(true).context(name)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true).map_err(io::Error::from).context(name)?;
        Ok(Inbox { socket, path })
    }

    /// Where the runtime finds it.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What was told since the last time, within bounds.
    pub fn receive(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for _ in 0..AT_ONCE {
            match self.message() {
                Ok(mut message) => told.append(&mut message),
                Err(_) => break,
            }
        }
        told
    }

    /// Drops what is queued (net.unix.max_dgram_qlen, 512 at most by default).
    pub fn discard(&self) {
        for _ in 0..1024 {
            if self.message().is_err() {
                break;
            }
        }
    }

    fn message(&self) -> nix::Result<Vec<Told>> {
        let mut text = [0; LARGEST];
        // Room for the most fds that a message can carry (SCM_MAX_FD), so that
        // none is left open unseen: `sd_notify_barrier` sends one, and waits
        // until it is closed.
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; 253], nix::libc::ucred);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let mut sender = 0;
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::ScmRights(fds) => {
                    for fd in fds {
                        let _ = nix::unistd::close(fd);
                    }
                }
                ControlMessageOwned::ScmCredentials(credentials) => sender = credentials.pid(),
                _ => {}
            }
        }
        let (bytes, cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
        // All processes of a container are seen from our pid namespace. Which
        // of them told can't be known for sure: the sender may be gone by now.
        match sender > 0 && !cut {
            true => Ok(parse(&text[..bytes])),
            false => Ok(vec![]),
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn parse(message: &[u8]) -> Vec<Told> {
    let text = String::from_utf8_lossy(message);
    let line = |line: &str| match line.split_once('=')? {
        ("READY", "1") => Some(Told::Ready),
        ("STOPPING", "1") => Some(Told::Stopping),
        ("STATUS", text) => {
            let clean = text.chars().filter(|c| !c.is_control());
            Some(Told::Status(clean.take(LONGEST_STATUS).collect()))
        }
        ("EXIT_STATUS", number) => number.parse().ok().map(Told::ExitStatus),
        _ => None,
    };
    text.lines().filter_map(line).collect()
}

/// The monitor's own NOTIFY_SOCKET, if it has one.
#[derive(Debug)]
pub struct Upstream(Option<(UnixDatagram, SocketAddr)>);

impl Upstream {
    pub fn from_env() -> Result<Upstream> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Upstream(None));
        };
        let context = || format!("NOTIFY_SOCKET {}", name.display());
        let address = address(&name).context(context)?;
        let socket = UnixDatagram::unbound().context(context)?;
        // A service manager that hangs must not take the container along.
        socket.set_write_timeout(Some(Duration::from_secs(1))).context(context)?;
        Ok(Upstream(Some((socket, address))))
    }

    /// Tells the service manager; that it is gone is no failure of ours.
    pub fn tell(&self, message: &str) {
        if let Upstream(Some((socket, address))) = self {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "is neither a path nor abstract")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_told() {
        let message =
            b"STATUS=up \x1b[31mred\nREADY=1\nMAINPID=1\nREADY=2\nEXIT_STATUS=133\nEXIT_STATUS=x\nSTOPPING=1\n\xff";
        let expected = [Told::Status("up [31mred".into()), Told::Ready, Told::ExitStatus(133), Told::Stopping];
        assert_eq!(parse(message), expected);
        assert_eq!(parse(b""), []);
        let long = format!("STATUS={}", "ä".repeat(2000));
        assert_eq!(parse(long.as_bytes()), [Told::Status("ä".repeat(LONGEST_STATUS))]);
    }

    #[test]
    fn addresses() {
        assert!(address(OsStr::new("@name")).unwrap().as_abstract_name().is_some());
        assert!(address(OsStr::new("/run/s")).unwrap().as_pathname().is_some());
        assert!(address(OsStr::new("vsock:2:1")).is_err());
    }
}
