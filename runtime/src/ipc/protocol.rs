//! The protocol between the runtime and init, both ends. The order is fixed; messages in
//! brackets are sent only if the plan needs them:
//!
//! ```text
//! runtime                                init
//!    |  <-  [NamespacesMade]                |   (unshared after the clone)
//!    |  [Mapped: ids are mapped]  ------>  |   (init waits before it mounts)
//!    |  [Placed: systemd has its cgroup] ->|   (a scope is made around init)
//!    |  <-  [MapMount: with a mount's fd]   |   (repeated for each mount)
//!    |  [MountMapped]  ----------------->  |
//!    |  <------  [Hooks: mounts are made]  |
//!    |  [HooksDone]  ------------------->  |   (then init enters its root)
//!    |  <-  [Filter: with its notify fd]    |   (for the seccomp agent)
//!    |  [HandedOver]  ------------------>  |
//!    |  <-  [Pid: of the final process]     |   (where a pid namespace is joined)
//!    |  <------  Ready                     |
//!    |  (record, pid file, start FIFO)     |
//!    |  Go  ---------------------------->  |   (create: waits for `start` next)
//!    |  <-  Failed(text), before Go        |
//! ```
//!
//! After Go, init writes nothing but its error (`Error::to_bytes`): to this channel
//! (`run`, `exec`), or to the start FIFO (`state/start.rs`). Both are FD_CLOEXEC: EOF
//! means that execve(2) succeeded.
//!
//! From Ready on, the container's seccomp filter applies to init. Messages without a
//! descriptor use read(2) and write(2) alone, which every usable profile allows.
//!
//! A process that dies closes its end, and the other reads EOF: an init whose runtime was
//! killed ends.

use super::socket;
use super::watch::Watch;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::sync::Arc;

/// Largest packet in bytes; an error text is cut to it. SOCK_SEQPACKET: a message is one
/// packet.
const MAX: usize = 8192;

const SEND: &str = "set up the process: send to its init or runtime";
const RECEIVE: &str = "set up the process: receive from its init or runtime";

/// A message of the protocol, either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Init has unshared the namespaces that the clone did not make.
    NamespacesMade,
    Mapped,
    Placed,
    /// Map the mount with this number in the plan; its descriptor is attached.
    MapMount(u32),
    MountMapped,
    Hooks,
    HooksDone,
    /// The seccomp filter is loaded; its notify descriptor is attached.
    Filter,
    HandedOver,
    /// Of the intermediate process of `exec`: the cgroup's `pids` limit leaves no room for a
    /// second process.
    Full,
    Ready,
    Go,
    Failed(String),
    /// The last message of an intermediate process: the pid of the process that it made.
    Pid(i32),
}

impl Message {
    fn succeeded(self) -> Result<Message> {
        match self {
            Message::Failed(text) => bail!("{text}"),
            message => Ok(message),
        }
    }
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// What else ends a wait.
    watch: Option<Arc<Watch>>,
}

impl Channel {
    fn new(socket: OwnedFd) -> Self {
        Channel { socket, watch: None }
    }

    /// Lets waits on this end stop at signals, or at the end of the container.
    pub fn watch(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }

    fn wait(&self) -> Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.wait(self.socket.as_fd()))
    }

    /// After Go: waits until execve(2) of the program; EOF means that it succeeded. Errors:
    /// the error that init sends (`Error::from_bytes`).
    pub fn wait_for_exec(&self) -> Result<()> {
        let (mut text, mut packet) = (Vec::new(), [0u8; MAX]);
        loop {
            self.wait()?;
            match rustix::io::read(&self.socket, &mut packet[..]) {
                Ok(0) | Err(Errno::CONNRESET) => break,
                Ok(length) => text.extend(&packet[..length]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "wait for init to execute the program"),
            }
        }
        if text.is_empty() { Ok(()) } else { Err(Error::from_bytes(&text)) }
    }

    /// A channel: the runtime's end and init's.
    pub fn pair() -> Result<(Channel, Channel)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .doing(|| "socketpair for the container's init")?;
        Ok((Channel::new(a), Channel::new(b)))
    }

    /// Duplicates this end, with FD_CLOEXEC.
    pub fn try_clone(&self) -> Result<Channel> {
        self.socket.try_clone().map(Channel::new).doing(|| "duplicate the channel of init")
    }

    /// Sends a message without a descriptor. Errors: EPIPE where the other process has ended.
    pub fn send(&self, message: &Message) -> Result<()> {
        let packet = encode(message);
        rustix::io::write(&self.socket, &packet).map(drop).doing(|| SEND)
    }

    /// The same for a reply: EPIPE is ignored, and the next `receive` returns None.
    pub fn answer(&self, message: &Message) -> Result<()> {
        match rustix::io::write(&self.socket, &encode(message)) {
            Ok(_) | Err(Errno::PIPE) => Ok(()),
            Err(errno) => Err(errno).doing(|| SEND),
        }
    }

    /// Sends a message with a descriptor (SCM_RIGHTS).
    pub fn send_with(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<()> {
        socket::send(&self.socket, &encode(message), fd).doing(|| SEND)
    }

    /// Receives a message and its descriptor. None at EOF. Errors: the text of
    /// [`Message::Failed`].
    pub fn receive_with(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        self.wait()?;
        let (packet, fd) = match socket::receive(&self.socket, MAX) {
            Err(Errno::CONNRESET) => return Ok(None),
            result => result.doing(|| RECEIVE)?,
        };
        if packet.is_empty() {
            return Ok(None);
        }
        decode(&packet)?.succeeded().map(|message| Some((message, fd)))
    }

    /// Receives a message without a descriptor. None at EOF. Errors: the text of
    /// [`Message::Failed`].
    pub fn receive(&self) -> Result<Option<Message>> {
        self.wait()?;
        let mut packet = [0u8; MAX];
        let length = loop {
            match rustix::io::read(&self.socket, &mut packet[..]) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                result => break result.doing(|| RECEIVE)?,
            }
        };
        match &packet[..length] {
            [] => Ok(None),
            packet => decode(packet)?.succeeded().map(Some),
        }
    }

    /// The same without waiting: None also if no message is queued.
    pub fn receive_now(&self) -> Result<Option<Message>> {
        let mut packet = [0u8; MAX];
        match rustix::net::recv(&self.socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::CONNRESET) => Ok(None),
            result => match &packet[..result.doing(|| RECEIVE)?.1] {
                [] => Ok(None),
                packet => decode(packet)?.succeeded().map(Some),
            },
        }
    }

    /// Sends the outcome as the last message, and exits with status 0.
    pub fn leave(&self, outcome: Result<Message>) -> ! {
        let message = outcome.unwrap_or_else(|error| Message::Failed(error.chain()));
        // EPIPE: the runtime has ended.
        let _ = self.send(&message);
        sys::exec::exit(0)
    }

    /// Waits, in init, for `wanted`. Errors: another message, or EOF.
    pub fn expect(&self, wanted: &Message) -> Result<()> {
        match self.receive()? {
            Some(message) if message == *wanted => Ok(()),
            Some(message) => bail!("init received {message:?} where {wanted:?} was expected"),
            None => bail!("the runtime ended while init was being set up"),
        }
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.socket
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::NamespacesMade => b"a".to_vec(),
        Message::Mapped => b"m".to_vec(),
        Message::Placed => b"p".to_vec(),
        Message::MapMount(number) => [b"M".as_slice(), &number.to_le_bytes()].concat(),
        Message::MountMapped => b"M".to_vec(),
        Message::Hooks => b"h".to_vec(),
        Message::HooksDone => b"d".to_vec(),
        Message::Filter => b"L".to_vec(),
        Message::HandedOver => b"k".to_vec(),
        Message::Full => b"F".to_vec(),
        Message::Ready => b"r".to_vec(),
        Message::Go => b"g".to_vec(),
        Message::Failed(text) => [b"f", &text.as_bytes()[..text.len().min(MAX - 1)]].concat(),
        Message::Pid(pid) => [b"p".as_slice(), &pid.to_le_bytes()].concat(),
    }
}

fn decode(packet: &[u8]) -> Result<Message> {
    Ok(match packet {
        b"a" => Message::NamespacesMade,
        b"m" => Message::Mapped,
        b"p" => Message::Placed,
        [b'M', a, b, c, d] => Message::MapMount(u32::from_le_bytes([*a, *b, *c, *d])),
        b"M" => Message::MountMapped,
        b"h" => Message::Hooks,
        b"d" => Message::HooksDone,
        b"L" => Message::Filter,
        b"k" => Message::HandedOver,
        b"F" => Message::Full,
        b"r" => Message::Ready,
        b"g" => Message::Go,
        [b'f', text @ ..] => Message::Failed(String::from_utf8_lossy(text).into_owned()),
        [b'p', a, b, c, d] => Message::Pid(i32::from_le_bytes([*a, *b, *c, *d])),
        _ => bail!("init sent a malformed message"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_decoded_as_encoded_and_eof_is_an_error() {
        let (a, b) = Channel::pair().unwrap();
        let all = [
            Message::NamespacesMade,
            Message::Mapped,
            Message::Placed,
            Message::MapMount(7),
            Message::MountMapped,
            Message::Hooks,
            Message::HooksDone,
            Message::Filter,
            Message::HandedOver,
            Message::Full,
            Message::Ready,
            Message::Go,
            Message::Pid(4_000_000),
        ];
        for message in all {
            a.send(&message).unwrap();
            assert_eq!(b.receive().unwrap(), Some(message));
        }
        a.send(&Message::Failed("init: mount /proc: ü".into())).unwrap();
        assert_eq!(b.receive().unwrap_err().chain(), "init: mount /proc: ü");
        drop(a);
        assert_eq!(b.receive().unwrap(), None);
        assert_eq!(b.expect(&Message::Go).unwrap_err().chain(), "the runtime ended while init was being set up");
    }

    #[test]
    fn the_wrong_message_and_garbage_are_errors() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Mapped).unwrap();
        assert!(b.expect(&Message::Go).is_err());
        assert!(decode(b"?").is_err());
    }
}
