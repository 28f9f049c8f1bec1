//! A monitor's connection to the keeper.

use super::protocol::{Reply, Request, connect_to_keeper, is_trusted, receive, send};
use firn::error::{Context, Error, Result};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The keeper answers at once. One that was stopped must not stop the monitor.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Attempts to connect: a keeper that was found may be just ending.
const ATTEMPTS: usize = 5;

/// What is held for a container.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Descriptors, by their names.
    pub(crate) fds: Vec<(String, OwnedFd)>,
    /// The wait status (wait(2)) of its process, if that has ended and the keeper has heard.
    pub(crate) ended: Option<i32>,
}

impl Held {
    /// The descriptor of this name.
    pub(crate) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.fds.iter().position(|(held, _)| held == name)?;
        Some(self.fds.swap_remove(index).1)
    }
}

/// A connection. The keeper has ended when it is readable.
#[derive(Debug)]
pub(crate) struct Keeper {
    socket: OwnedFd,
}

impl Keeper {
    /// Connects to the keeper below `base`; `None` if none runs.
    pub(crate) fn find(base: &Path) -> Result<Option<Keeper>> {
        match connect_to_keeper(base) {
            Ok(socket) => Keeper::new(socket).map(Some),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(io::Error::from(errno)).doing(|| "connect to the keeper"),
        }
    }

    /// The same, with copies of all that it holds for the container. Nothing comes from one that was killed
    /// together with the monitor, and is found while it dies.
    pub(crate) fn find_and_take(base: &Path, container: &str) -> Result<(Option<Keeper>, Held)> {
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            let Some(keeper) = Keeper::find(base)? else { return Ok((None, Held::default())) };
            match keeper.take(container) {
                Ok(held) => return Ok((Some(keeper), held)),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| Error::new("keeper: has ended")))
    }

    /// The same as [`Keeper::find`], and starts one if none runs. The caller must have no child that makes others its
    /// children meanwhile: it is no subreaper for that time, as the keeper would be its child.
    pub(crate) fn start(base: &Path) -> Result<Keeper> {
        for _ in 0..ATTEMPTS {
            if let Some(keeper) = Keeper::find(base)? {
                return Ok(keeper);
            }
            spawn(base)?;
        }
        Err(Error::new("connect to the keeper: it ends as soon as it is started"))
    }

    fn new(socket: OwnedFd) -> Result<Keeper> {
        if !is_trusted(&socket) {
            return Err(Error::new("connect to the keeper: it belongs to another user"));
        }
        for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            let limited = sockopt::set_socket_timeout(&socket, direction, Some(TIMEOUT));
            limited.map_err(io::Error::from).doing(|| "connect to the keeper")?;
        }
        Ok(Keeper { socket })
    }

    /// Has it hold these descriptors, and no others of the container. That of the name `process` is a pidfd.
    pub(crate) fn hold(&self, container: &str, held: &[(&'static str, BorrowedFd<'_>)], process: &str) -> Result<()> {
        let names: Vec<&str> = held.iter().map(|(name, _)| *name).collect();
        let fds: Vec<BorrowedFd<'_>> = held.iter().map(|(_, fd)| *fd).collect();
        let (container, process) = (container.to_owned(), Some(process.to_owned()));
        self.call(&Request::Hold { container, names: names.join(" "), process }, &fds).map(drop)
    }

    /// Copies of all that it holds for the container, by their names.
    pub(crate) fn take(&self, container: &str) -> Result<Held> {
        let (reply, fds) = self.call(&Request::Take { container: container.into() }, &[])?;
        let names = reply.names.split_ascii_whitespace().map(str::to_owned);
        Ok(Held { fds: names.zip(fds).collect(), ended: reply.ended })
    }

    /// Has it close what it holds for the container.
    pub(crate) fn forget(&self, container: &str) -> Result<()> {
        self.call(&Request::Forget { container: container.into() }, &[]).map(drop)
    }

    fn call(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Reply, Vec<OwnedFd>)> {
        send(self.socket.as_fd(), request, fds, SendFlags::empty()).doing(|| "keeper")?;
        let received = receive::<Reply>(self.socket.as_fd(), RecvFlags::empty()).doing(|| "keeper")?;
        match received {
            Some((Reply { error: Some(why), .. }, _)) => Err(Error::new(format!("keeper: {why}"))),
            Some(answer) => Ok(answer),
            None => Err(Error::new("keeper: has ended")),
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Starts a keeper: `firn-shim keep`, which ends when another process, its child, listens.
fn spawn(base: &Path) -> Result<()> {
    use nix::sys::prctl;
    let operation = || "start the keeper";
    let is_subreaper = prctl::get_child_subreaper().map_err(io::Error::from).doing(operation)?;
    prctl::set_child_subreaper(false).map_err(io::Error::from).doing(operation)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("firn-shim").arg("keep").arg("--state-dir").arg(base);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status();
    prctl::set_child_subreaper(is_subreaper).map_err(io::Error::from).doing(operation)?;
    match status.doing(operation)?.success() {
        true => Ok(()),
        false => Err(Error::new(format!(
            "start the keeper: failed: `firn-shim keep --state-dir {}` says why",
            base.display()
        ))),
    }
}
