//! The other end: sockets are made, and given to the resident process, which is started where none runs.

use super::protocol::{self, DESCRIPTORS, Request, Socket};
use crate::in_namespace;
use anyhow::{Context, Result, bail};
use firn_network::message::{Network, Proxy, RESOLVER};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DNS: u16 = 53;
/// Connections that wait.
const BACKLOG: i32 = 128;
/// It may be about to end.
const TRIES: usize = 3;

/// How the names of sockets end: of one that was started here, and of systemd's (ctl/firn-network.socket).
const OWN: &str = "socket";
const ACTIVATED: &str = "activated";

/// A socket, and what it is for.
pub type Made = (Socket, OwnedFd);

/// A connection to the resident process, which does not end before it is closed.
#[derive(Debug)]
pub struct Resident {
    socket: OwnedFd,
    /// Whom it serves.
    pub containers: Vec<String>,
}

/// What a container's network needs of it.
pub fn is_needed(network: &Network) -> bool {
    network.resolver || !network.proxies.is_empty()
}

impl Resident {
    /// Of the containers whose namespaces are kept beside `pin`; one is started where none runs. The caller has
    /// the lock.
    pub fn of(pin: &Path) -> Result<Self> {
        for _ in 0..TRIES {
            let found = match Self::running(pin)? {
                Some(resident) => Some(resident),
                None => {
                    start(pin).context("start the resident process")?;
                    Self::running(pin)?
                }
            };
            if let Some(resident) = found {
                return Ok(resident);
            }
        }
        bail!("the resident process ends as soon as it is started")
    }

    /// `None`: none runs. That of systemd, where it has one, starts when it is asked.
    pub fn running(pin: &Path) -> Result<Option<Self>> {
        match Self::at(pin, ACTIVATED)? {
            None => Self::at(pin, OWN),
            some => Ok(some),
        }
    }

    fn at(pin: &Path, ending: &str) -> Result<Option<Self>> {
        let socket = new_socket()?;
        let (directory, name) = place(pin, ending)?;
        match connect(&socket, &address(&directory, &name)?) {
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            result => result.with_context(|| format!("connect to {name}"))?,
        }
        // One that ends just now does not answer.
        match protocol::ask(socket.as_fd(), &Request::List, &[]) {
            Ok(reply) => Ok(Some(Resident { socket, containers: reply.containers })),
            Err(_) => Ok(None),
        }
    }

    /// Has a container's sockets served.
    pub fn add(&self, network: &Network, made: &[Made]) -> Result<()> {
        for some in made.chunks(DESCRIPTORS) {
            let request = Request::Add {
                container: network.container.clone(),
                addresses: network.addresses().collect(),
                sockets: some.iter().map(|(socket, _)| socket.clone()).collect(),
            };
            let descriptors: Vec<_> = some.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
            protocol::ask(self.socket.as_fd(), &request, &descriptors)?;
        }
        Ok(())
    }

    /// Has the sockets of these ports closed.
    pub fn remove_ports(&self, network: &Network, proxies: Vec<Proxy>) -> Result<()> {
        self.remove(network, Some(proxies.into_iter().map(Socket::Port).collect())).map(drop)
    }

    /// Those that are left.
    fn remove(&self, network: &Network, sockets: Option<Vec<Socket>>) -> Result<Vec<String>> {
        let request = Request::Remove { container: network.container.clone(), sockets };
        Ok(protocol::ask(self.socket.as_fd(), &request, &[])?.containers)
    }
}

/// Has all of a container closed. The process ends with the last one, and its socket goes here.
pub fn forget(network: &Network) -> Result<()> {
    let left = match Resident::running(&network.pin)? {
        Some(resident) if !resident.containers.contains(&network.container) => return Ok(()),
        Some(resident) => resident.remove(network, None)?,
        // One that was killed has left its socket.
        None => Vec::new(),
    };
    match left.is_empty() {
        true => place(&network.pin, OWN).and_then(|(directory, name)| remove_socket(&directory, &name)),
        false => Ok(()),
    }
}

/// The sockets of a container.
pub fn make(network: &Network, namespace: &File, host: &File) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    if network.resolver {
        made = in_namespace(namespace, host, queries)??;
    }
    made.extend(ports(&network.proxies)?);
    Ok(made)
}

/// Those of ports.
pub fn ports(proxies: &[Proxy]) -> Result<Vec<Made>> {
    let made = proxies.iter().map(|proxy| {
        let listen = proxy.listen;
        let socket: std::io::Result<OwnedFd> = match &*proxy.protocol {
            "udp" => UdpSocket::bind(listen).map(OwnedFd::from),
            _ => TcpListener::bind(listen).map(OwnedFd::from),
        };
        let what = || format!("listen on {listen}/{}", proxy.protocol);
        Ok((Socket::Port(proxy.clone()), socket.with_context(what)?))
    });
    made.collect()
}

/// They wait at an address that the interface lo need not have yet.
fn queries() -> Result<Vec<Made>> {
    let address = SocketAddr::new(RESOLVER.into(), DNS);
    let make = |kind, stream: bool| -> rustix::io::Result<Made> {
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::set_ip_freebind(&socket, true)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        if stream {
            listen(&socket, BACKLOG)?;
        }
        Ok((Socket::Queries { stream }, socket))
    };
    let both = || rustix::io::Result::Ok(vec![make(SocketType::DGRAM, false)?, make(SocketType::STREAM, true)?]);
    both().with_context(|| format!("listen on {address} in the container"))
}

fn start(pin: &Path) -> Result<()> {
    let (directory, name) = place(pin, OWN)?;
    let socket = new_socket()?;
    remove_socket(&directory, &name)?;
    // The directory is the caller's alone.
    bind(&socket, &address(&directory, &name)?).with_context(|| format!("bind {name}"))?;
    listen(&socket, BACKLOG).context("listen")?;
    let mut own = Command::new("/proc/self/exe");
    own.arg0("firn-network")
        .arg("reside")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_clear();
    own.spawn().context("run firn-network")?;
    Ok(())
}

fn new_socket() -> Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).context("make a socket")
}

fn remove_socket(directory: &OwnedFd, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(errno) if errno != Errno::NOENT => Err(errno).with_context(|| format!("remove {name}")),
        _ => Ok(()),
    }
}

/// The directory and the name of the socket, beside the directory of namespaces.
fn place(pin: &Path, ending: &str) -> Result<(OwnedFd, String)> {
    let path: PathBuf = pin.parent().unwrap_or(Path::new("/")).with_extension(ending);
    let (directory, name) = path.parent().zip(path.file_name()).context("a path of a namespace")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(directory, flags, Mode::empty()).with_context(|| format!("open {}", directory.display()))?;
    Ok((opened, name.to_string_lossy().into_owned()))
}

/// However long the path is: sun_path has 108 bytes (unix(7)).
fn address(directory: &OwnedFd, name: &str) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())).context("the socket's address")
}
