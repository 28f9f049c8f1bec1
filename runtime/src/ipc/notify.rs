//! sd_notify(3) for a container that is started by a service of systemd: the container
//! gets a notify socket of its own, and its READY=1 is forwarded to the caller's.

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

/// Whether the caller has NOTIFY_SOCKET set.
pub fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Makes the socket's directory in the state directory, mode 0755.
pub fn make_directory(dir: &StateDir) -> Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    // chmod(2) past the umask: the container's user must reach the socket.
    rustix::fs::mkdirat(dir, NOTIFY_DIRECTORY, mode)
        .and_then(|()| rustix::fs::chmodat(dir, NOTIFY_DIRECTORY, mode, rustix::fs::AtFlags::empty()))
        .doing(|| "make the directory of the notify socket")
}

/// The container's notify socket, and the caller's.
#[derive(Debug)]
pub struct Proxy {
    container: OwnedFd,
    manager: OwnedFd,
}

impl Proxy {
    /// Binds the container's socket; to be called before the container starts. None if
    /// NOTIFY_SOCKET is unset or nobody listens there, or if the container was created
    /// without the directory. Errors: those of connect(2), bind(2).
    pub fn listen(dir: &StateDir) -> Result<Option<Self>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(None) };
        if !dir.has(NOTIFY_DIRECTORY) {
            return Ok(None);
        }
        // An address family other than AF_UNIX is not forwarded.
        let address = match notify_socket::parse_address(&path) {
            Err(Errno::AFNOSUPPORT) => return Ok(None),
            address => address,
        };
        let connect = || {
            let manager = datagram_socket()?;
            rustix::net::connect(&manager, &address?)?;
            Ok::<_, Errno>(manager)
        };
        let manager = match connect() {
            // A stale socket of a service that has ended.
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            result => result.doing(|| format!("connect to NOTIFY_SOCKET {}", path.display()))?,
        };
        let bind = || {
            let container = datagram_socket()?;
            // By descriptor: sun_path holds 108 bytes (unix(7)).
            let path_by_fd = format!("/proc/self/fd/{}/{}", dir.as_fd().as_raw_fd(), NOTIFY_SOCKET.to_string_lossy());
            rustix::net::bind(&container, &SocketAddrUnix::new(path_by_fd)?)?;
            // For any user of the container.
            rustix::fs::chmodat(dir, NOTIFY_SOCKET, Mode::from_raw_mode(0o777), rustix::fs::AtFlags::empty())?;
            Ok::<_, Errno>(container)
        };
        let container = bind().doing(|| "make the container's notify socket")?;
        Ok(Some(Proxy { container, manager }))
    }

    /// Waits until the container sends READY=1, which is forwarded with MAINPID=`main`, or
    /// until init ends. Returns when the service manager has read both.
    pub fn forward_ready(&self, init: impl AsFd, main: i32) -> Result<()> {
        let mut buffer = [0u8; 4096];
        loop {
            let mut fds = [PollFd::new(&self.container, PollFlags::IN), PollFd::new(&init, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => result.doing(|| "wait until the container is ready (READY=1)")?,
            };
            if fds[0].revents().is_empty() {
                return Ok(());
            }
            let length = rustix::net::recv(&self.container, &mut buffer, RecvFlags::empty())
                .doing(|| "receive from the container's notify socket")?
                .1;
            // Only READY=1: MAINPID, FDSTORE and the like would act on the caller's service.
            if buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                self.send_to_manager(b"READY=1\n")?;
                self.send_to_manager(format!("MAINPID={main}\n").as_bytes())?;
                return self.barrier();
            }
        }
    }

    fn send_to_manager(&self, text: &[u8]) -> Result<()> {
        rustix::net::send(&self.manager, text, SendFlags::NOSIGNAL)
            .doing(|| "send to the service manager (NOTIFY_SOCKET)")
            .map(drop)
    }

    /// sd_notify_barrier(3): the manager closes the passed end of a pipe when it has read all
    /// messages before. Waits 30 s at most.
    fn barrier(&self) -> Result<()> {
        const BARRIER_TIMEOUT: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
        let what = || "wait for the service manager (sd_notify_barrier)";
        let (read_end, write_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(what)?;
        socket::send(&self.manager, b"BARRIER=1", write_end.as_fd()).doing(what)?;
        drop(write_end);
        match poll(&mut [PollFd::new(&read_end, PollFlags::empty())], Some(&BARRIER_TIMEOUT)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).doing(what),
        }
    }
}

fn datagram_socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}
