//! Readiness of a container whose caller is a service of systemd's, sd_notify(3):
//! the container gets a socket of its own, and that it is ready is handed on to
//! the caller's.

use super::socket;
use crate::error::{Context, Result};
use crate::spec::notify_socket;
use crate::state::StateDir;
use crate::state::files::{NOTIFY_DIRECTORY, NOTIFY_SOCKET};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// Whether whoever called wants to hear of readiness.
pub fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Makes the directory of the socket in the container's state directory.
pub fn make_directory(dir: &StateDir) -> Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    // Whatever the caller's mask is: the container's user must reach the socket.
    rustix::fs::mkdirat(dir, NOTIFY_DIRECTORY, mode)
        .and_then(|()| rustix::fs::chmodat(dir, NOTIFY_DIRECTORY, mode, rustix::fs::AtFlags::empty()))
        .doing(|| "make the directory of the notify socket")
}

/// Hears the container and speaks to the caller's service manager.
#[derive(Debug)]
pub struct Proxy {
    container: OwnedFd,
    manager: OwnedFd,
}

impl Proxy {
    /// Before the container starts. None where nobody listens, any more or at all,
    /// or where the container was not made for it.
    pub fn listen(dir: &StateDir) -> Result<Option<Self>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(None) };
        if !dir.has(NOTIFY_DIRECTORY) {
            return Ok(None);
        }
        // Of another family: it is not forwarded.
        let address = match notify_socket::parse_address(&path) {
            Err(Errno::AFNOSUPPORT) => return Ok(None),
            address => address,
        };
        let connect = || {
            let manager = datagrams()?;
            rustix::net::connect(&manager, &address?)?;
            Ok::<_, Errno>(manager)
        };
        let manager = match connect() {
            // Left over from a service that is gone.
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            result => result.doing(|| format!("connect to NOTIFY_SOCKET {}", path.display()))?,
        };
        let bind = || {
            let container = datagrams()?;
            // By descriptor, for a socket's path holds 108 bytes.
            let place = format!("/proc/self/fd/{}/{}", dir.as_fd().as_raw_fd(), NOTIFY_SOCKET.to_string_lossy());
            rustix::net::bind(&container, &SocketAddrUnix::new(place)?)?;
            // Whoever the container's user is.
            rustix::fs::chmodat(dir, NOTIFY_SOCKET, Mode::from_raw_mode(0o777), rustix::fs::AtFlags::empty())?;
            Ok::<_, Errno>(container)
        };
        let container = bind().doing(|| "make the container's notify socket")?;
        Ok(Some(Proxy { container, manager }))
    }

    /// Waits until the container is ready, or its init has ended. Its main process
    /// is `main` to the service manager, which has it all when this returns.
    pub fn pass_on(&self, init: impl AsFd, main: i32) -> Result<()> {
        let mut buffer = [0u8; 4096];
        loop {
            let mut fds = [PollFd::new(&self.container, PollFlags::IN), PollFd::new(&init, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => result.doing(|| "wait for the container to be ready")?,
            };
            if fds[0].revents().is_empty() {
                return Ok(());
            }
            let length =
                rustix::net::recv(&self.container, &mut buffer, RecvFlags::empty()).doing(|| "hear the container")?.1;
            // Nothing else: a container could speak about what is not its own.
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                self.tell(b"READY=1\n")?;
                self.tell(format!("MAINPID={main}\n").as_bytes())?;
                return self.barrier();
            }
        }
    }

    fn tell(&self, text: &[u8]) -> Result<()> {
        rustix::net::send(&self.manager, text, SendFlags::NOSIGNAL).doing(|| "tell the service manager").map(drop)
    }

    /// sd_notify_barrier(3): the other end of a pipe is closed when all before it
    /// has been read.
    fn barrier(&self) -> Result<()> {
        const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
        let what = || "wait for the service manager";
        let (near, far) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(what)?;
        socket::send(&self.manager, b"BARRIER=1", far.as_fd()).doing(what)?;
        drop(far);
        match poll(&mut [PollFd::new(&near, PollFlags::empty())], Some(&PATIENCE)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).doing(what),
        }
    }
}

fn datagrams() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}
