//! The monitor's own service manager, which NOTIFY_SOCKET names (sd_notify(3)). Sending never
//! blocks: a notification for which the manager's socket has no room is kept until it has, and
//! replaced by a newer one for the same variable.

use super::Notification;
use crate::reactor::{Interest, Reactor, Token};
use firn::error::{Context, Result};
use firn::spec::notify_socket;
use rustix::net::SocketAddrUnix;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Notifications of the container are passed on in intervals of this length.
const INTERVAL: Duration = Duration::from_millis(100);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    manager: Option<(UnixDatagram, SocketAddrUnix)>,
    connected: bool,
    /// Its socket is in the reactor's set.
    polled: bool,
    /// Not sent yet.
    pending: Vec<Notification>,
    /// The container's, until the interval is over.
    delayed: Vec<Notification>,
    /// When the interval is over.
    interval_end: Option<Instant>,
}

impl Upstream {
    /// The service manager that NOTIFY_SOCKET names, if it is set and not empty. Errors: an address
    /// that is neither an absolute path nor abstract (`@NAME`).
    pub(crate) fn from_env() -> Result<Upstream> {
        let Some(name) = std::env::var_os(notify_socket::VARIABLE).filter(|name| !name.is_empty()) else {
            return Ok(Upstream::default());
        };
        let context = || format!("NOTIFY_SOCKET {}", name.display());
        let address = notify_socket::parse_address(&name).map_err(io::Error::from).doing(context)?;
        let socket = UnixDatagram::unbound().doing(context)?;
        socket.set_nonblocking(true).doing(context)?;
        Ok(Upstream { manager: Some((socket, address)), ..Upstream::default() })
    }

    /// Sends a notification of the monitor's. That the manager is gone is no error.
    pub(crate) fn notify(&mut self, notification: Notification, reactor: &Reactor) {
        if self.manager.is_some() {
            insert_newest(&mut self.pending, notification);
            self.flush(reactor);
        }
    }

    /// Passes a notification of the container's on: at once, or at the end of the interval.
    pub(crate) fn relay(&mut self, notification: Notification, reactor: &Reactor) {
        if self.manager.is_some() {
            insert_newest(&mut self.delayed, notification);
            self.send_due(reactor);
        }
    }

    /// When delayed notifications are due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.interval_end.filter(|_| !self.delayed.is_empty())
    }

    /// Sends delayed notifications, if they are due, and begins an interval.
    pub(crate) fn send_due(&mut self, reactor: &Reactor) {
        let now = Instant::now();
        if !self.delayed.is_empty() && self.interval_end.is_none_or(|end| end <= now) {
            self.interval_end = Some(now + INTERVAL);
            self.send_delayed(reactor);
        }
    }

    /// Sends delayed notifications, due or not.
    pub(crate) fn send_delayed(&mut self, reactor: &Reactor) {
        for notification in std::mem::take(&mut self.delayed) {
            insert_newest(&mut self.pending, notification);
        }
        self.flush(reactor);
    }

    /// Sends pending notifications, as many as the manager has room for, and waits for room where
    /// some are left. One that fails otherwise is dropped.
    pub(crate) fn flush(&mut self, reactor: &Reactor) {
        while let Some(notification) = self.pending.first() {
            match self.send(&notification.line()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => drop(self.pending.remove(0)),
            }
        }
        let Some((socket, _)) = &self.manager else { return };
        let wanted = !self.pending.is_empty();
        let changed = match (self.polled, wanted) {
            (false, true) => reactor.add(socket, Interest::Writable, Token::Upstream),
            (true, false) => reactor.remove(socket),
            _ => return,
        };
        if changed.is_ok() {
            self.polled = wanted;
        }
    }

    /// Sends a message. The socket is connected, as only then EPOLLOUT waits for room in the
    /// manager's socket; again, when the manager has replaced that one.
    fn send(&mut self, line: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.manager else { return Ok(()) };
        if self.connected {
            match socket.send(line.as_bytes()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => self.connected = false,
            }
        }
        rustix::net::connect(socket, address)?;
        self.connected = true;
        socket.send(line.as_bytes()).map(drop)
    }
}

/// Replaces the older notification for the same variable, or appends.
fn insert_newest(list: &mut Vec<Notification>, notification: Notification) {
    match list.iter_mut().find(|older| older.same_variable(&notification)) {
        Some(older) => *older = notification,
        None => list.push(notification),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_does_not_read_gets_the_newest_when_it_does() {
        let name = format!("firn-shim-upstream-{}", std::process::id());
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::unbound().unwrap();
        rustix::net::bind(&manager, &address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut upstream = Upstream { manager: Some((socket, address)), ..Upstream::default() };
        let reactor = Reactor::new().unwrap();
        for number in 0..2000 {
            upstream.notify(Notification::Status(number.to_string()), &reactor);
        }
        upstream.notify(Notification::Stopping, &reactor);
        assert_eq!(upstream.pending, [Notification::Status("1999".into()), Notification::Stopping]);
        let mut last = Vec::new();
        manager.set_nonblocking(true).unwrap();
        while !upstream.pending.is_empty() {
            let mut text = [0; 64];
            while let Ok(count) = manager.recv(&mut text) {
                last.push(String::from_utf8_lossy(&text[..count]).into_owned());
            }
            let limit = Instant::now() + Duration::from_secs(10);
            let ready: Vec<_> = reactor.wait(Some(limit)).unwrap().collect();
            assert_eq!(ready, [Token::Upstream]);
            upstream.flush(&reactor);
        }
        let mut text = [0; 64];
        while let Ok(count) = manager.recv(&mut text) {
            last.push(String::from_utf8_lossy(&text[..count]).into_owned());
        }
        assert_eq!(last[last.len() - 2..], ["STATUS=1999", "STOPPING=1"]);
    }
}
