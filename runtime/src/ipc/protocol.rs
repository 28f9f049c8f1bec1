//! What the runtime and init say to each other, both ends. It is a fixed order;
//! steps in brackets happen only when the plan needs them:
//!
//! ```text
//! runtime                                init
//!    |  <-  [NamespacesMade]                |   (not by the clone)
//!    |  [Mapped: ids are mapped]  ------>  |   (init waits before it mounts)
//!    |  [Placed: systemd has its cgroup] ->|   (a scope is made around init)
//!    |  <-  [MapMount: with a mount's fd]   |   (may come again)
//!    |  [MountMapped]  ----------------->  |
//!    |  <------  [Hooks: mounts are made]  |
//!    |  [HooksDone]  ------------------->  |   (then it leaves the host's root)
//!    |  <-  [Filter: with its listener]    |   (for the seccomp agent)
//!    |  [HandedOver]  ------------------>  |
//!    |  <-  [Pid: of the process that ...] |   (where a pid namespace is joined)
//!    |  <------  Ready                     |
//!    |  (record, pid file, start FIFO)     |
//!    |  Go  ---------------------------->  |   (create: waits for `start` next)
//!    |  <------  Failed(text), at any time |
//! ```
//!
//! After Go, init writes nothing but its error (`Error::to_bytes`): to this channel
//! (`run`, `exec`), or to the FIFO of `start` (`state/start.rs`). Both close when
//! its program runs.
//!
//! From Ready on the container's seccomp filter applies to init. What has no
//! descriptor goes by read(2) and write(2), which any profile allows that a
//! program can live with.
//!
//! Either side that dies closes its end, and the other one notices: no init is
//! left behind by a runtime that was killed.

use super::socket;
use super::watch::Watch;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::sync::Arc;

/// An error text is cut here; one message is one packet.
const MAX: usize = 8192;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// From a process that makes its namespaces by itself: it has.
    NamespacesMade,
    Mapped,
    Placed,
    /// A mount's number in the plan: it shall have its id mapping, and its
    /// descriptor comes along.
    MapMount(u32),
    MountMapped,
    Hooks,
    HooksDone,
    /// The seccomp filter is loaded; the descriptor of its listener comes along.
    Filter,
    HandedOver,
    /// From an intermediate process: no other fits into the cgroup beside it.
    Full,
    Ready,
    Go,
    Failed(String),
    /// From an intermediate process, which ends: the pid of the one that it made.
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

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// What ends waiting for the other side.
    watch: Option<Arc<Watch>>,
}

impl Channel {
    fn new(socket: OwnedFd) -> Self {
        Channel { socket, watch: None }
    }

    /// From now on a wait for the other side ends by these, too.
    pub fn watch(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }

    fn wait(&self) -> Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.wait(self.socket.as_fd()))
    }

    /// After Go: waits until the program runs. EOF means that execve succeeded. Errors:
    /// that of a program that could not be run.
    pub fn wait_for_exec(&self) -> Result<()> {
        let (mut text, mut packet) = (Vec::new(), [0u8; MAX]);
        loop {
            self.wait()?;
            match rustix::io::read(&self.socket, &mut packet[..]) {
                Ok(0) | Err(Errno::CONNRESET) => break,
                Ok(length) => text.extend(&packet[..length]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "hear from init"),
            }
        }
        if text.is_empty() { Ok(()) } else { Err(Error::from_bytes(&text)) }
    }

    /// The runtime's end and init's.
    pub fn pair() -> Result<(Channel, Channel)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .doing(|| "make the channel to init")?;
        Ok((Channel::new(a), Channel::new(b)))
    }

    /// A second descriptor of this end, which closes on exec.
    pub fn try_clone(&self) -> Result<Channel> {
        self.socket.try_clone().map(Channel::new).doing(|| "keep the channel")
    }

    pub fn send(&self, message: &Message) -> Result<()> {
        let packet = encode(message);
        rustix::io::write(&self.socket, &packet).map(drop).doing(|| "send to the other side of create")
    }

    /// The same for one who asked and waits. If it is gone, the next `receive` tells.
    pub fn answer(&self, message: &Message) -> Result<()> {
        match rustix::io::write(&self.socket, &encode(message)) {
            Ok(_) | Err(Errno::PIPE) => Ok(()),
            Err(errno) => Err(errno).doing(|| "send to the other side of create"),
        }
    }

    pub fn send_with(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<()> {
        socket::send(&self.socket, &encode(message), fd).doing(|| "send to the other side of create")
    }

    /// A message and the descriptor that comes with it. None when the other side
    /// is gone; its failure is an error here.
    pub fn receive_with(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        self.wait()?;
        let (packet, fd) = match socket::receive(&self.socket, MAX) {
            Err(Errno::CONNRESET) => return Ok(None),
            result => result.doing(|| "hear from the other side of create")?,
        };
        if packet.is_empty() {
            return Ok(None);
        }
        decode(&packet)?.succeeded().map(|message| Some((message, fd)))
    }

    /// None when the other side is gone; its failure is an error here.
    pub fn receive(&self) -> Result<Option<Message>> {
        self.wait()?;
        let mut packet = [0u8; MAX];
        let length = loop {
            match rustix::io::read(&self.socket, &mut packet[..]) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                result => break result.doing(|| "hear from the other side of create")?,
            }
        };
        match &packet[..length] {
            [] => Ok(None),
            packet => decode(packet)?.succeeded().map(Some),
        }
    }

    /// A message that is there already.
    pub fn receive_now(&self) -> Result<Option<Message>> {
        let mut packet = [0u8; MAX];
        match rustix::net::recv(&self.socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::CONNRESET) => Ok(None),
            result => match &packet[..result.doing(|| "hear from the other side of create")?.1] {
                [] => Ok(None),
                packet => decode(packet)?.succeeded().map(Some),
            },
        }
    }

    /// The end of a process that has done the one thing that it is there for, and
    /// says how that went.
    pub fn leave(&self, outcome: Result<Message>) -> ! {
        let last_word = outcome.unwrap_or_else(|error| Message::Failed(error.chain()));
        // If the runtime is gone there is nobody to tell.
        let _ = self.send(&last_word);
        sys::exec::exit(0)
    }

    /// Waits, in init, for the one message that comes next.
    pub fn expect(&self, wanted: &Message) -> Result<()> {
        match self.receive()? {
            Some(message) if message == *wanted => Ok(()),
            Some(message) => bail!("the runtime said {message:?} where {wanted:?} comes next"),
            None => bail!("the runtime is gone"),
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
        _ => bail!("a message that is none came from init"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way_and_an_end_is_noticed() {
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
        assert_eq!(b.expect(&Message::Go).unwrap_err().chain(), "the runtime is gone");
    }

    #[test]
    fn the_wrong_message_and_garbage_are_errors() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Mapped).unwrap();
        assert!(b.expect(&Message::Go).is_err());
        assert!(decode(b"?").is_err());
    }
}
