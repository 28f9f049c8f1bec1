//! Readiness, by systemd's datagram protocol: a socket that the container
//! writes to. See [`crate::notify::upstream`] for the service manager's.
//!
//! The container may send descriptors along, and the last close of a file can
//! take as long as the container likes: of a TCP socket with SO_LINGER and a full
//! buffer, until the other side acknowledges. Not taking them does not help, as the
//! kernel then closes them on the receiver's way out of recvmsg(2). So a process
//! of its own receives, and hands on words. SO_PASSRIGHTS (Linux 6.16) would refuse
//! them to the sender, but with them `sd_notify_barrier`, which sends a pipe's end
//! and waits until it is closed.

use crate::error::{Context, Result};
use crate::process::pipes;
use crate::signal::Signal;
use crate::state::dir::StateDir;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

const NAME: &str = "notify";

/// systemd's own limit for a message.
const LARGEST: usize = 4096;
const LONGEST_STATUS: usize = 256;

/// Messages taken within [`PAUSE`]; then the senders wait.
const AT_ONCE: usize = 64;
const PAUSE: u8 = 100;

/// What a container may tell. All else (MAINPID, FDSTORE …) would be advice to
/// the host's service manager about the monitor, and is not the container's to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Ready,
    Stopping,
    Status(String),
    ExitStatus(u8),
}

impl Told {
    /// Of each kind only one counts in a message, as for systemd.
    pub fn is_like(&self, other: &Told) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The line of the protocol.
    pub fn line(&self) -> String {
        match self {
            Told::Ready => "READY=1".into(),
            Told::Stopping => "STOPPING=1".into(),
            Told::Status(text) => format!("STATUS={text}"),
            Told::ExitStatus(status) => format!("EXIT_STATUS={status}"),
        }
    }
}

/// The socket that is mounted into the container, for one attempt: what an earlier
/// container has told must not count for this one.
#[derive(Debug)]
pub struct Inbox {
    path: PathBuf,
    /// Whole lines, from the receiver.
    news: OwnedFd,
    /// The beginning of one.
    rest: Vec<u8>,
    receiver: OwnedFd,
}

impl Inbox {
    pub fn open(dir: &StateDir) -> Result<Inbox> {
        dir.remove(NAME)?;
        let path = dir.file(NAME);
        let name = || format!("listen on {}", path.display());
        let socket = UnixDatagram::bind(dir.bind_path(NAME)).context(name)?;
        // Any user of the container may tell; on the host, the folder around
        // the socket lets only its owner pass.
        fs::set_permissions(&path, Permissions::from_mode(0o666)).context(name)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true).map_err(io::Error::from).context(name)?;
        let (news, out) = pipes::output().context(name)?;
        let receiver = sys::fork_worker(socket.as_fd(), out.as_fd(), receive).context(name)?;
        Ok(Inbox { path, news, rest: Vec::new(), receiver })
    }

    /// Where the runtime finds it.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What was told since the last time; an error if nobody receives any more.
    pub fn news(&mut self) -> io::Result<Vec<Told>> {
        let mut buffer = [0; LARGEST];
        match nix::unistd::read(&self.news, &mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&lines).lines().filter_map(parse_line).collect())
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Drop for Inbox {
    /// Not waited for: it may be in a close that takes its time.
    fn drop(&mut self) {
        let _ = sys::signal_pidfd(&self.receiver, Signal::KILL.0);
    }
}

/// The receiver: the socket is its stdin, the way to the monitor its stdout. It
/// ends with the monitor, when nobody reads that any more.
fn receive() {
    let (socket, out) = (io::stdin(), io::stdout());
    let (socket, out) = (socket.as_fd(), out.as_fd());
    let mut text = [0; LARGEST];
    loop {
        // POLLERR on `out`, which is always told, means that its reader is gone.
        let mut fds = [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(out, PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[1].any() == Some(true) => return,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return,
        }
        for _ in 0..AT_ONCE {
            match sys::receive(socket, &mut text) {
                // All processes of a container are seen from our pid namespace. Which
                // of them told can't be known for sure: the sender may be gone by now.
                Ok(datagram) if datagram.sender > 0 && !datagram.cut => {
                    let lines: String = parse(&text[..datagram.length]).iter().map(|told| told.line() + "\n").collect();
                    // In one piece: it is shorter than PIPE_BUF.
                    if !lines.is_empty() && nix::unistd::write(out, lines.as_bytes()).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // A flood costs its senders time and not the host.
        if poll(&mut [PollFd::new(out, PollFlags::empty())], PollTimeout::from(PAUSE)) != Ok(0) {
            return;
        }
    }
}

/// What a message says; of each kind the first.
fn parse(message: &[u8]) -> Vec<Told> {
    let text = String::from_utf8_lossy(message);
    let mut all: Vec<Told> = Vec::new();
    for told in text.lines().filter_map(parse_line) {
        if !all.iter().any(|known| known.is_like(&told)) {
            all.push(told);
        }
    }
    all
}

fn parse_line(line: &str) -> Option<Told> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Told::Ready),
        ("STOPPING", "1") => Some(Told::Stopping),
        ("STATUS", text) => {
            let clean = text.chars().filter(|c| !c.is_control());
            Some(Told::Status(clean.take(LONGEST_STATUS).collect()))
        }
        ("EXIT_STATUS", number) => number.parse().ok().map(Told::ExitStatus),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_told() {
        let message =
            b"STATUS=up \x1b[31mred\nREADY=1\nMAINPID=1\nREADY=2\nEXIT_STATUS=133\nEXIT_STATUS=x\nSTOPPING=1\n\xff";
        let expected = [Told::Status("up [31mred".into()), Told::Ready, Told::ExitStatus(133), Told::Stopping];
        assert_eq!(parse(message), expected);
        assert_eq!(parse(b""), []);
        let long = format!("STATUS={}", "ä".repeat(2000));
        assert_eq!(parse(long.as_bytes()), [Told::Status("ä".repeat(LONGEST_STATUS))]);
    }

    #[test]
    fn of_each_kind_one_counts() {
        let many: String = (0..400).map(|n| format!("STATUS={n}\nEXIT_STATUS={}\n", n % 256)).collect();
        assert_eq!(parse(many.as_bytes()), [Told::Status("0".into()), Told::ExitStatus(0)]);
    }
}
