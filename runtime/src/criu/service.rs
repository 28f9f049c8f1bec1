//! CRIU as a child process that takes requests over a socket: `criu swrk FD`.

use super::rpc::{self, Kind, Response};
use super::wire::Writer;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::ipc::protocol::{Channel, Message};
use crate::ipc::{child, socket};
use crate::sys;
use crate::sys::clone::{Fork, clone3};
use crate::sys::exec::{CVec, execve};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType};
use rustix::process::Pid;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A CRIU process that waits for its request.
#[derive(Debug)]
pub struct Criu {
    socket: OwnedFd,
    pub pid: Pid,
    pidfd: OwnedFd,
    /// To the child, before it executes CRIU.
    channel: Channel,
    ended: bool,
}

/// Called for a notification: its name, a pid, and a descriptor that was sent with it.
pub type Notified<'a> = dyn FnMut(&str, i32, Option<OwnedFd>) -> Result<()> + 'a;

/// What the child does before it executes CRIU.
pub struct ChildSetup<'a> {
    /// CLONE_NEW* of the child.
    pub namespaces: u64,
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Descriptors that CRIU inherits, with the same numbers.
    pub keep: &'a [BorrowedFd<'a>],
    pub prepare: &'a dyn Fn() -> Result<()>,
}

/// Finds criu in the caller's PATH. Errors: not found.
pub fn find() -> Result<CString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("criu")).find(is_program);
    let Some(found) = found else { bail!("criu is not in PATH ({}): install criu", path.display()) };
    CString::new(found.as_os_str().as_bytes()).map_err(|_| Error::new("PATH has a NUL byte"))
}

fn is_program(path: &PathBuf) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|data| data.is_file());
    is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

impl Criu {
    /// Forks the child and waits until it has run `prepare`.
    pub fn fork(program: &CString, inside: &ChildSetup<'_>) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (socket, criu_socket) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .doing(|| "socketpair for CRIU")?;
        let (channel, criu_channel) = Channel::pair()?;
        let (pid, pidfd) = match clone3(inside.namespaces, inside.cgroup).doing(|| "clone the process for CRIU")? {
            Fork::Parent { pid, pidfd } => (pid, pidfd),
            Fork::Child => {
                drop((socket, channel));
                become_criu(program, inside, &criu_socket, &criu_channel)
            }
        };
        drop((criu_socket, criu_channel));
        let criu = Criu { socket, pid, pidfd, channel, ended: false };
        match criu.channel.receive()? {
            Some(Message::Ready) => Ok(criu),
            other => bail!("the process for CRIU sent {other:?}"),
        }
    }

    /// Lets the child execute CRIU.
    pub fn exec(&self) -> Result<()> {
        self.channel.send(&Message::Go)?;
        match self.channel.receive()? {
            None => Ok(()),
            Some(other) => bail!("the process for CRIU sent {other:?}"),
        }
    }

    /// A CRIU without preparation.
    pub fn start(program: &CString) -> Result<Self> {
        let nothing = ChildSetup { namespaces: 0, cgroup: None, keep: &[], prepare: &|| Ok(()) };
        let criu = Self::fork(program, &nothing)?;
        criu.exec().map(|()| criu)
    }

    /// Sends a request and waits for the response. At notifications CRIU waits for a reply, which
    /// is sent when `notified` returns; with orphan-pts-master the pty master is attached.
    pub fn request(&self, request: &Writer, notified: &mut Notified<'_>) -> Result<Response> {
        self.send(request)?;
        loop {
            let (response, fd) = self.receive()?;
            let Some(script) = &response.script else { return Ok(response) };
            let done = notified(script, response.pid, fd);
            self.send(&rpc::acknowledge(done.is_ok()))?;
            if let Err(error) = done {
                // CRIU rolls back, with further notifications.
                while self.receive().is_ok_and(|(response, _)| response.script.is_some()) {
                    self.send(&rpc::acknowledge(false))?;
                }
                return Err(error);
            }
        }
    }

    fn send(&self, message: &Writer) -> Result<()> {
        match rustix::net::send(&self.socket, message.as_bytes(), SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(errno) => Err(errno).doing(|| "send a request to CRIU"),
        }
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        match socket::receive(&self.socket, 64 << 10) {
            Err(Errno::CONNRESET) => bail!("CRIU ended without a response"),
            result => match result.doing(|| "receive from CRIU")? {
                (packet, _) if packet.is_empty() => bail!("CRIU ended without a response"),
                (packet, fd) => Ok((Response::parse(&packet), fd)),
            },
        }
    }

    /// Waits for the end of a CRIU that has responded.
    pub fn finish(mut self) -> Result<()> {
        // EOF: after a pre-dump it waits for a further request.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        self.ended = true;
        child::wait(self.pid, &self.pidfd).doing(|| "wait for CRIU")
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        if !self.ended {
            child::kill(self.pid, &self.pidfd);
        }
    }
}

fn become_criu(program: &CString, inside: &ChildSetup<'_>, socket: &OwnedFd, channel: &Channel) -> ! {
    let Err(error) = steps(program, inside, socket, channel);
    channel.leave(Err(error))
}

fn steps(
    program: &CString,
    inside: &ChildSetup<'_>,
    socket: &OwnedFd,
    channel: &Channel,
) -> Result<std::convert::Infallible> {
    sys::signal::reset_sigpipe();
    sys::signal::unblock_all().doing(|| "unblock signals")?;
    (inside.prepare)()?;
    channel.send(&Message::Ready)?;
    channel.expect(&Message::Go)?;
    let number = socket.as_raw_fd();
    for fd in inside.keep.iter().map(AsRawFd::as_raw_fd).chain([number]) {
        sys::fds::clear_cloexec(fd).doing(|| "clear FD_CLOEXEC of a descriptor for CRIU")?;
    }
    let arguments = [b"criu".to_vec(), b"swrk".to_vec(), number.to_string().into_bytes()];
    let environment = std::env::vars_os().map(|(name, value)| join(&name, &value));
    let vector = |list: Vec<Vec<u8>>| {
        let strings = list.into_iter().map(CString::new).collect::<std::result::Result<_, _>>();
        strings.map(CVec::new).map_err(|_| Error::new("the environment has a NUL byte"))
    };
    let errno = execve(program, &vector(arguments.to_vec())?, &vector(environment.collect())?);
    Err(errno).doing(|| format!("exec {}", program.to_string_lossy()))
}

fn join(name: &OsStr, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes()].concat()
}

/// The features of CRIU and the kernel.
pub fn features(program: &CString) -> Result<Response> {
    query(program, &rpc::feature_check()).doing(|| "query the features of CRIU")
}

/// The version of CRIU, as in [`Response::version`].
pub fn version(program: &CString) -> Result<u64> {
    let answer = query(program, &rpc::request(Kind::Version, None)).doing(|| "query the version of CRIU")?;
    Ok(answer.version)
}

fn query(program: &CString, request: &Writer) -> Result<Response> {
    let criu = Criu::start(program)?;
    let answer = criu.request(request, &mut |_, _, _| Ok(()))?;
    criu.finish()?;
    if !answer.success {
        bail!("CRIU failed: does `criu check` succeed on this host?");
    }
    Ok(answer)
}
