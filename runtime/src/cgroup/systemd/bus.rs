//! A connection to the D-Bus of systemd's manager, system or user instance. Calls are
//! buffered and sent together; replies are read in turn.

use super::wire::{self, HEAD, Incoming, Method, Reader, Writer};
use crate::bail;
use crate::error::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Timeout of a call, as runc's.
const TIMEOUT: Duration = Duration::from_secs(30);

const DBUS: Method = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
};

#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    serial: u32,
    /// Calls that are not sent yet.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// Messages that arrived before they were awaited.
    waiting: Vec<Incoming>,
    deadline: Instant,
}

impl Bus {
    /// Connects to the system bus, or with `of_user` to the user's. Errors: those of connect(2).
    pub fn connect(of_user: bool) -> Result<Self> {
        let path = if of_user { session_socket()? } else { PathBuf::from("/run/dbus/system_bus_socket") };
        let what = || format!("connect to the bus at {}", path.display());
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).doing(what)?;
        connect(&socket, &SocketAddrUnix::new(&path).doing(what)?).doing(what)?;
        // EXTERNAL without an identity: the kernel reports it (SO_PEERCRED); in a user
        // namespace the own uid is another number.
        let outgoing = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec();
        let deadline = Instant::now() + TIMEOUT;
        let mut bus = Bus { socket, serial: 0, outgoing, incoming: Vec::new(), waiting: Vec::new(), deadline };
        bus.call(&DBUS, "", Writer::default());
        bus.flush()?;
        bus.authenticated()?;
        Ok(bus)
    }

    /// Subscribes to the signals that match `rule`.
    pub fn add_match(&mut self, rule: &str) {
        let mut body = Writer::default();
        body.text(rule);
        self.call(&Method { member: "AddMatch", ..DBUS }, "s", body);
    }

    /// Buffers a call; returns its serial number for `answer`.
    pub fn call(&mut self, method: &Method, signature: &str, body: Writer) -> u32 {
        self.serial += 1;
        self.outgoing.extend(wire::call(self.serial, method, signature, body));
        self.serial
    }

    /// Waits for the reply to a call. An error reply is the inner `Err`.
    pub fn answer(&mut self, serial: u32) -> Result<std::result::Result<Incoming, DbusError>> {
        let incoming = self.wait_for(|message| message.reply_to == Some(serial))?;
        Ok(match &incoming.error {
            None => Ok(incoming),
            Some(name) => {
                let message = Reader::new(&incoming.body).text().unwrap_or_default();
                Err(DbusError { name: name.clone(), message })
            }
        })
    }

    /// Waits for the next message that matches.
    pub fn wait_for(&mut self, wanted: impl Fn(&Incoming) -> bool) -> Result<Incoming> {
        self.flush()?;
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return Ok(self.waiting.remove(at));
        }
        loop {
            let message = self.receive()?;
            if wanted(&message) {
                return Ok(message);
            }
            self.waiting.push(message);
        }
    }

    fn flush(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.outgoing);
        crate::path::write_all(&self.socket, &bytes).doing(|| "send to the bus")
    }

    /// Reads the replies of the SASL handshake: `DATA`, `OK GUID`.
    fn authenticated(&mut self) -> Result<()> {
        loop {
            if let Some(end) = self.incoming.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.incoming[..end]).into_owned();
                self.incoming.drain(..end + 2);
                match line.split(' ').next() {
                    Some("OK") => return Ok(()),
                    Some("DATA") => continue,
                    _ => bail!("the bus refused the authentication: {line}"),
                }
            }
            self.read_more()?;
        }
    }

    fn receive(&mut self) -> Result<Incoming> {
        let nonsense = || Error::new("receive from the bus: malformed D-Bus message");
        loop {
            if let Some(head) = self.incoming.first_chunk::<HEAD>() {
                let length = wire::length(head).ok_or_else(nonsense)?;
                if self.incoming.len() >= length {
                    let message: Vec<u8> = self.incoming.drain(..length).collect();
                    return wire::read(&message).ok_or_else(nonsense);
                }
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => bail!("wait for systemd: no reply within {} s", TIMEOUT.as_secs()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno).doing(|| "wait for the bus"),
        }
        let mut buffer = [0u8; 4096];
        match rustix::io::read(&self.socket, &mut buffer).doing(|| "read from the bus")? {
            0 => bail!("the bus closed the connection"),
            length => self.incoming.extend(&buffer[..length]),
        }
        Ok(())
    }
}

/// A D-Bus error reply.
#[derive(Debug, PartialEq, Eq)]
pub struct DbusError {
    pub name: String,
    pub message: String,
}

impl DbusError {
    /// Whether it is the error `name` of org.freedesktop.systemd1.
    pub fn is(&self, name: &str) -> bool {
        self.name.rsplit('.').next() == Some(name)
    }
}

impl From<DbusError> for Error {
    fn from(error: DbusError) -> Self {
        Error::new(format!("systemd: {}", error.message))
    }
}

fn session_socket() -> Result<PathBuf> {
    if let Some(address) = std::env::var_os("DBUS_SESSION_BUS_ADDRESS") {
        let address = address.to_string_lossy().into_owned();
        // The first address of the list, and its first key.
        let path = address.split(';').next().and_then(|first| first.strip_prefix("unix:path="));
        if let Some(path) = path.and_then(|path| path.split(',').next()) {
            return Ok(path.into());
        }
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) => Ok(PathBuf::from(dir).join("bus")),
        None => bail!(
            "the systemd cgroup manager needs the user's bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR \
             is set (is there a login session? see loginctl enable-linger)"
        ),
    }
}
