//! The monitor's own service manager, told by systemd's datagram protocol over
//! NOTIFY_SOCKET. Never waited for: what it does not take now is kept, of each
//! kind the newest, and sent when its socket has room.

use crate::error::{Context, Result};
use crate::notify::inbox::Told;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The container's words are handed on at this interval at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Upstream {
    manager: Option<(UnixDatagram, SocketAddr)>,
    connected: bool,
    polled: bool,
    pending: Vec<Told>,
    /// Of the container's, until the interval is over.
    held: Vec<Told>,
    /// When the next words of the container may go out.
    open_at: Option<Instant>,
}

impl Upstream {
    pub fn from_env() -> Result<Upstream> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Upstream::default());
        };
        let context = || format!("NOTIFY_SOCKET {}", name.display());
        let address = address(&name).context(context)?;
        let socket = UnixDatagram::unbound().context(context)?;
        socket.set_nonblocking(true).context(context)?;
        Ok(Upstream { manager: Some((socket, address)), ..Upstream::default() })
    }

    /// Tells the service manager; that it is gone is no failure of ours.
    pub fn tell(&mut self, told: Told, epoll: &Epoll) {
        if self.manager.is_some() {
            put(&mut self.pending, told);
            self.flush(epoll);
        }
    }

    /// Hands on what the container tells, in the manager's own time.
    pub fn relay(&mut self, told: Told, epoll: &Epoll) {
        if self.manager.is_some() {
            put(&mut self.held, told);
            self.look_at_the_clock(epoll);
        }
    }

    /// When held words may go out.
    pub fn deadline(&self) -> Option<Instant> {
        self.open_at.filter(|_| !self.held.is_empty())
    }

    pub fn look_at_the_clock(&mut self, epoll: &Epoll) {
        let now = Instant::now();
        if !self.held.is_empty() && self.open_at.is_none_or(|at| at <= now) {
            self.open_at = Some(now + INTERVAL);
            self.release(epoll);
        }
    }

    /// Sends what is kept, as far as the manager takes it.
    pub fn release(&mut self, epoll: &Epoll) {
        for told in std::mem::take(&mut self.held) {
            put(&mut self.pending, told);
        }
        self.flush(epoll);
    }

    pub fn flush(&mut self, epoll: &Epoll) {
        while let Some(told) = self.pending.first() {
            match self.send(&told.line()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => drop(self.pending.remove(0)),
            }
        }
        let Some((socket, _)) = &self.manager else { return };
        let wanted = !self.pending.is_empty();
        let changed = match (self.polled, wanted) {
            (false, true) => {
                epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLOUT, crate::container::token::UPSTREAM))
            }
            (true, false) => epoll.delete(socket.as_fd()),
            _ => return,
        };
        if changed.is_ok() {
            self.polled = wanted;
        }
    }

    /// Connected, because only then does EPOLLOUT wait for room in the manager's
    /// socket; anew when the manager has made that anew.
    fn send(&mut self, line: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.manager else { return Ok(()) };
        if self.connected {
            match socket.send(line.as_bytes()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => self.connected = false,
            }
        }
        socket.connect_addr(address)?;
        self.connected = true;
        socket.send(line.as_bytes()).map(drop)
    }
}

/// In the place of an older one of its kind, else last.
fn put(list: &mut Vec<Told>, told: Told) {
    match list.iter_mut().find(|known| known.is_like(&told)) {
        Some(known) => *known = told,
        None => list.push(told),
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
    use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

    #[test]
    fn addresses() {
        assert!(address(OsStr::new("@name")).unwrap().as_abstract_name().is_some());
        assert!(address(OsStr::new("/run/s")).unwrap().as_pathname().is_some());
        assert!(address(OsStr::new("vsock:2:1")).is_err());
    }

    #[test]
    fn a_manager_that_does_not_read_gets_the_newest_when_it_does() {
        let name = format!("firn-shim-upstream-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut upstream = Upstream { manager: Some((socket, address)), ..Upstream::default() };
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        for number in 0..2000 {
            upstream.tell(Told::Status(number.to_string()), &epoll);
        }
        upstream.tell(Told::Stopping, &epoll);
        assert_eq!(upstream.pending, [Told::Status("1999".into()), Told::Stopping]);
        let mut last = Vec::new();
        manager.set_nonblocking(true).unwrap();
        let mut ready = [EpollEvent::empty()];
        while !upstream.pending.is_empty() {
            let mut text = [0; 64];
            while let Ok(count) = manager.recv(&mut text) {
                last.push(String::from_utf8_lossy(&text[..count]).into_owned());
            }
            assert_eq!(epoll.wait(&mut ready, EpollTimeout::from(10_000u16)), Ok(1));
            upstream.flush(&epoll);
        }
        let mut text = [0; 64];
        while let Ok(count) = manager.recv(&mut text) {
            last.push(String::from_utf8_lossy(&text[..count]).into_owned());
        }
        assert_eq!(last[last.len() - 2..], ["STATUS=1999", "STOPPING=1"]);
    }
}
