//! The other end: sockets are made, and given to the resident process, which is started where none runs.

use super::protocol::{self, DESCRIPTORS, Reply, Request, Socket};
use crate::in_namespace;
use anyhow::{Context, Result};
use firn_network::message::{Network, Proxy, RESOLVER};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt::{self, Timeout},
};
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DNS: u16 = 53;
/// Connections that wait.
const BACKLOG: i32 = 128;
/// It may be about to end.
const TRIES: usize = 3;
/// For its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the names of sockets end: of one that was started here, and of systemd's (ctl/firn-network.socket).
const OWN: &str = "socket";
const ACTIVATED: &str = "activated";

/// A socket that was made for the process.
type MadeSocket = (Socket, OwnedFd);

/// A connection to the process, which does not end before it is closed.
#[derive(Debug)]
pub struct Resident {
    socket: OwnedFd,
    /// Whom it serves or expects.
    pub containers: Vec<String>,
}

/// What a container wants to be served by: sockets that are made, and those that are there already.
#[derive(Debug)]
pub struct Wish {
    container: String,
    addresses: Vec<IpAddr>,
    sockets: Vec<Socket>,
    made: Vec<MadeSocket>,
}

/// Whether a container's network needs the process.
pub fn is_needed(network: &Network) -> bool {
    network.resolver || !network.proxies.is_empty()
}

impl Resident {
    /// Of the containers whose namespaces are kept beside `pin`; one is started where none runs. The caller has
    /// the lock, and is no hook: what a hook starts ends with the container's monitor.
    pub fn of(pin: &Path) -> Result<Self> {
        for _ in 0..TRIES {
            if let Some(resident) = Self::running(pin)? {
                return Ok(resident);
            }
            start(pin).context("start firn-network reside")?;
        }
        Self::running(pin)?.context("firn-network reside ends as soon as it is started")
    }

    /// `None`: none runs. That of systemd, where it has one, starts when it is asked.
    pub fn running(pin: &Path) -> Result<Option<Self>> {
        match Self::connect_to(pin, ACTIVATED)? {
            None => Self::connect_to(pin, OWN),
            some => Ok(some),
        }
    }

    fn connect_to(pin: &Path, ending: &str) -> Result<Option<Self>> {
        let socket = new_socket()?;
        let (directory, name) = place(pin, ending)?;
        match connect(&socket, &address(&directory, &name)?) {
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            result => result.with_context(|| format!("connect to {name}"))?,
        }
        for timeout in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE)).context("a socket")?;
        }
        let mut resident = Resident { socket, containers: Vec::new() };
        // One that ends just now does not answer.
        let Some(reply) = resident.ask(&Request::Served { container: String::new() }, &[])? else { return Ok(None) };
        resident.containers = reply.containers;
        Ok(Some(resident))
    }

    /// Keeps it until the container comes.
    pub fn expect(&self, network: &Network) -> Result<()> {
        self.done(&Request::Expect { container: network.container.clone() }, &[])
    }

    /// Makes the sockets that a container lacks. Nothing is served yet.
    pub fn wish(&self, network: &Network, namespace: &File, host: &File) -> Result<Wish> {
        let request = Request::Served { container: network.container.clone() };
        let present = self.ask(&request, &[])?.map(|reply| reply.sockets).unwrap_or_default();
        let is_missing = |socket: &Socket| !present.iter().any(|other| other.is_same_place(socket));
        let mut sockets = Vec::new();
        let mut made = Vec::new();
        if network.resolver {
            let queries = [false, true].map(|stream| Socket::Queries { stream, forwards: network.forwards });
            if queries.iter().any(is_missing) {
                let new = in_namespace(namespace, host, self::queries)??;
                made.extend(queries.iter().cloned().zip(new));
            }
            sockets.extend(queries);
        }
        for proxy in &network.proxies {
            let socket = Socket::Port(proxy.clone());
            if is_missing(&socket) {
                match bind_port(proxy)? {
                    Some(new) => made.push((socket.clone(), new)),
                    None => continue,
                }
            }
            sockets.push(socket);
        }
        Ok(Wish { container: network.container.clone(), addresses: network.addresses().collect(), sockets, made })
    }

    /// Has it served from now on, and nothing else of the container.
    pub fn serve(&self, wish: &Wish) -> Result<()> {
        for some in wish.made.chunks(DESCRIPTORS) {
            let sockets = some.iter().map(|(socket, _)| socket.clone()).collect();
            let descriptors: Vec<_> = some.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
            self.done(&Request::Offer { sockets }, &descriptors)?;
        }
        let Wish { container, addresses, sockets, .. } = wish;
        let (container, addresses, sockets) = (container.clone(), addresses.clone(), sockets.clone());
        self.done(&Request::Serve { container, addresses, sockets }, &[])
    }

    fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<Option<Reply>> {
        protocol::ask(self.socket.as_fd(), request, descriptors)
    }

    fn done(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        self.ask(request, descriptors)?.map(drop).context("firn-network reside has ended")
    }
}

/// Has all of a container closed.
pub fn forget(network: &Network) -> Result<()> {
    match Resident::running(&network.pin)? {
        Some(resident) => resident.done(&Request::Forget { container: network.container.clone() }, &[]),
        None => Ok(()),
    }
}

/// Tells it that a container comes no more, whose namespace was kept at `pin`: with the last one it ends, and does
/// not wait for a restart.
pub fn leave(pin: &Path) -> Result<()> {
    let (directory, name) = place(pin, OWN)?;
    let container = pin.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Not that of systemd, which would be started to be asked.
    if let Some(resident) = Resident::connect_to(pin, OWN)? {
        let left = resident.ask(&Request::Leave { container }, &[])?.map(|reply| reply.containers).unwrap_or_default();
        if !left.is_empty() {
            return Ok(());
        }
    }
    remove_socket(&directory, &name)
}

/// `None`: the host has no such address, as where it has no IPv6.
fn bind_port(proxy: &Proxy) -> Result<Option<OwnedFd>> {
    let listen = proxy.listen;
    let socket = match &*proxy.protocol {
        "udp" => UdpSocket::bind(listen).map(OwnedFd::from),
        _ => TcpListener::bind(listen).map(OwnedFd::from),
    };
    match socket {
        Err(error) if listen.is_ipv6() && is_without_ipv6(&error) => Ok(None),
        result => result.map(Some).with_context(|| format!("listen on {listen}/{}", proxy.protocol)),
    }
}

fn is_without_ipv6(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// For datagrams and for streams. They wait at an address that the interface lo need not have yet.
fn queries() -> Result<[OwnedFd; 2]> {
    let address = SocketAddr::new(RESOLVER.into(), DNS);
    let make = |kind| -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::set_ip_freebind(&socket, true)?;
        if kind == SocketType::STREAM {
            // Connections that have ended keep the port for a while.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &address)?;
        if kind == SocketType::STREAM {
            listen(&socket, BACKLOG)?;
        }
        Ok(socket)
    };
    let both = || rustix::io::Result::Ok([make(SocketType::DGRAM)?, make(SocketType::STREAM)?]);
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
