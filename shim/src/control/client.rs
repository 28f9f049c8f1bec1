//! The other end of the control socket, for programs that speak to a monitor.

use super::protocol::{Envelope, Event, MESSAGE_LIMIT, Message, Reply, Request, SOCKET, VERSION};
use firn::error::{Context, Error, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A connection to the monitor of a container.
#[derive(Debug)]
pub struct Client {
    id: String,
    socket: OwnedFd,
    /// Events that came before a reply.
    events: VecDeque<Event>,
}

impl Client {
    /// Connects to the monitor of container `id`, whose directory is below `state_dir`. `None`: none
    /// runs.
    pub fn connect(state_dir: &Path, id: &str) -> Result<Option<Client>> {
        firn::state::check_id(id)?;
        let operation = || format!("connect to the monitor of {id}");
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let directory = match rustix::fs::open(state_dir.join(id), flags, rustix::fs::Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.map_err(io::Error::from).doing(operation)?,
        };
        let connected = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            // However long the path of the directory is: sun_path has 108 bytes (unix(7)).
            let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
            connect(&socket, &SocketAddrUnix::new(&*path)?)?;
            Ok(socket)
        };
        match connected() {
            Ok(socket) => Ok(Some(Client { id: id.into(), socket, events: VecDeque::new() })),
            // A monitor that was killed has left its socket.
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(io::Error::from(errno)).doing(operation),
        }
    }

    /// A client of the monitor that is started with the other end as its stdin, by `firn-shim run
    /// --client-on-stdin`. It speaks of the container as `id`.
    pub fn over(socket: OwnedFd, id: &str) -> Client {
        Client { id: id.into(), socket, events: VecDeque::new() }
    }

    /// Sends a request and waits for the reply, with the sockets that came with it. Errors: the
    /// monitor has refused it, or has ended.
    pub fn call(&mut self, request: Request) -> Result<(Reply, Vec<OwnedFd>)> {
        self.send(request, &[])?;
        self.reply()
    }

    /// Whether a monitor is at the other end: one that was killed takes connections until it is gone. Errors:
    /// the connection can't be read.
    pub fn is_answered(&mut self) -> Result<bool> {
        self.send(Request::Status, &[])?;
        loop {
            match self.receive()? {
                Some((Message::Event(event), _)) => self.events.push_back(event),
                Some((Message::Reply(_), _)) => return Ok(true),
                None => return Ok(false),
            }
        }
    }

    /// Sends a request, with descriptors that stay open until the monitor has read it, and which it
    /// then closes: a lock that one of them holds lasts until then, also when this process ends.
    pub fn send(&mut self, request: Request, held: &[BorrowedFd<'_>]) -> Result<()> {
        let operation = || format!("container {}", self.id);
        let text = serde_json::to_vec(&Envelope { version: VERSION, request }).doing(operation)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !held.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(held));
        }
        match sendmsg(&self.socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL) {
            // A monitor that refuses the connection has said why, and closed it.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(io::Error::from(errno)).doing(operation),
        }
    }

    /// Waits for the reply to a request that was sent.
    pub fn reply(&mut self) -> Result<(Reply, Vec<OwnedFd>)> {
        loop {
            let (message, sockets) = self.receive()?.ok_or_else(|| self.ended())?;
            match message {
                Message::Event(event) => self.events.push_back(event),
                Message::Reply(Reply { error: Some(why), .. }) => {
                    return Err(Error::new(format!("container {}: {why}", self.id)));
                }
                Message::Reply(reply) => return Ok((reply, sockets)),
            }
        }
    }

    /// Waits for the next event; `None` if the monitor has ended without one.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.receive()? {
                Some((Message::Event(event), _)) => return Ok(Some(event)),
                Some((Message::Reply(_), _)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Whether events have come that [`Client::next_event`] returns without waiting. More may be in
    /// the socket.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    fn ended(&self) -> Error {
        Error::new(format!("container {}: its monitor has ended", self.id))
    }

    /// `None` at the end.
    fn receive(&self) -> Result<Option<(Message, Vec<OwnedFd>)>> {
        let operation = || format!("container {}: read from its monitor", self.id);
        let mut text = vec![0; MESSAGE_LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                // The monitor has closed the connection before it read a request. It is said once, and
                // what it sent is still there.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno)).doing(operation),
            }
        };
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        if length == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&text[..length]).doing(operation)?;
        Ok(Some((message, sockets)))
    }
}

impl AsFd for Client {
    /// Readable when a message has come, or the monitor has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
