//! systemd's descriptor store (systemd.service(5), `FileDescriptorStoreMax=`): what a service gives
//! there by sd_notify(3) comes back at its next start, as sockets for activation do.

use firn::error::{Context, Result};
use firn::spec::notify_socket;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, connect, sendmsg,
    socket_with, sockopt,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Before the names of ours, as a unit's sockets have names too (FDNAME).
const PREFIX: &str = "firn-";

/// systemd reads at once; where it is stopped, the monitor must not be.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The store of the monitor's unit.
#[derive(Debug)]
pub(crate) struct Store {
    socket: OwnedFd,
}

impl Store {
    /// The store that the service manager has for us: FDSTORE is the number of descriptors that it
    /// takes (systemd 254). `None`: it has none.
    pub(crate) fn from_env() -> Result<Option<Store>> {
        let limit = std::env::var("FDSTORE").ok().and_then(|limit| limit.parse::<u32>().ok()).unwrap_or(0);
        let manager = std::env::var_os(notify_socket::VARIABLE).filter(|name| !name.is_empty());
        let Some(name) = manager.filter(|_| limit > 0) else { return Ok(None) };
        let context = || format!("NOTIFY_SOCKET {}", name.display());
        let address = notify_socket::parse_address(&name).map_err(io::Error::from).doing(context)?;
        let open = || -> rustix::io::Result<OwnedFd> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(TIMEOUT))?;
            connect(&socket, &address)?;
            Ok(socket)
        };
        Ok(Some(Store { socket: open().map_err(io::Error::from).doing(context)? }))
    }

    /// Stores a descriptor. FDPOLL=0: otherwise a pipe whose writers have ended would be dropped, with
    /// what it holds.
    pub(crate) fn add(&self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={PREFIX}{name}"), &[fd])
    }

    /// Has the manager close what has this name.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={PREFIX}{name}"), &[])
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let sent = sendmsg(&self.socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL);
        sent.map(drop).map_err(io::Error::from).doing(|| "descriptor store of the service manager")
    }
}

/// Has the manager close what an earlier monitor has stored, of a container that is started anew.
pub(crate) fn remove_all<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<()> {
    match Store::from_env()? {
        Some(store) => names.try_for_each(|name| store.remove(name)),
        None => Ok(()),
    }
}

/// Which of the descriptors that the manager has passed (LISTEN_FDNAMES, sd_listen_fds(3)) are ours,
/// by their names.
pub(crate) fn stored(inherited: Vec<OwnedFd>) -> Vec<(String, OwnedFd)> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let ours = names.split(':').zip(inherited).filter_map(|(name, fd)| Some((name.strip_prefix(PREFIX)?.into(), fd)));
    ours.collect()
}
