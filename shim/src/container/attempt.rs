//! One life of the container, from `create` to `delete`.

use crate::container::oom::Counters;
use crate::container::policy::{Cause, Exit};
use crate::container::token;
use crate::error::{Context, Error, Result};
use crate::process::pty::ConsoleSocket;
use crate::signal::{Signal, is_awaited};
use crate::sys::signal_pidfd;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

/// Ends of unknown children that are remembered while `create` runs.
const MOST_ORPHANS: usize = 64;

/// What is known of it, and what is open while it lasts.
#[derive(Debug)]
pub struct Attempt {
    pub began: Instant,
    pub started_at: String,
    pub ready_at: Option<String>,
    pub exited_at: Option<String>,
    pub pid: Option<i32>,
    /// While init lives.
    pidfd: Option<OwnedFd>,
    orphans: Vec<(i32, Exit)>,
    console: Option<ConsoleSocket>,
    oom: Counters,
    pub oom_killed: Option<bool>,
    /// Set when it is over.
    pub exit: Option<Exit>,
    pub cause: Option<Cause>,
    /// Why the runtime could not create or start it.
    pub failure: Option<Error>,
}

impl Attempt {
    pub fn begin() -> Attempt {
        Attempt {
            began: Instant::now(),
            started_at: crate::clock::now(),
            ready_at: None,
            exited_at: None,
            pid: None,
            pidfd: None,
            orphans: Vec::new(),
            console: None,
            oom: Counters::default(),
            oom_killed: None,
            exit: None,
            cause: None,
            failure: None,
        }
    }

    /// Waits for the terminal of this attempt.
    pub fn listen_for_console(&mut self, socket: ConsoleSocket, epoll: &Epoll) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token::CONSOLE);
        epoll.add(&socket, event).context(|| "epoll_ctl: console socket".into())?;
        self.console = Some(socket);
        Ok(())
    }

    /// The terminal's master, once; then nobody can connect any more.
    pub fn receive_console(&mut self, epoll: &Epoll) -> Result<Option<OwnedFd>> {
        let Some(socket) = &self.console else {
            return Ok(None);
        };
        let received = socket.receive().context(|| "receive the terminal".into());
        if !matches!(received, Ok(None)) {
            self.close_console(epoll);
        }
        received
    }

    pub fn close_console(&mut self, epoll: &Epoll) {
        if let Some(socket) = self.console.take() {
            let _ = epoll.delete(&socket);
        }
    }

    /// Takes charge of the init that `create` left. Its exit, if it has already
    /// ended and was collected.
    pub fn adopt(&mut self, pid_file: &Path, epoll: &Epoll) -> Result<Option<Exit>> {
        let name = || format!("pid file {}", pid_file.display());
        let text = fs::read_to_string(pid_file).context(name)?;
        let pid: i32 = text.trim().parse().context(name)?;
        self.pid = Some(pid);
        if let Some((_, exit)) = self.orphans.iter().find(|(orphan, _)| *orphan == pid) {
            return Ok(Some(*exit));
        }
        let open = || {
            let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
            pidfd_open(pid, PidfdFlags::NONBLOCK)
        };
        let pidfd = open().map_err(std::io::Error::from).context(|| format!("pidfd_open {pid}"))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token::INIT);
        epoll.add(&pidfd, event).context(|| "epoll_ctl: pidfd".into())?;
        self.pidfd = Some(pidfd);
        self.oom = Counters::of(pid);
        Ok(None)
    }

    pub fn is_init(&self, pid: i32) -> bool {
        self.pidfd.is_some() && self.pid == Some(pid)
    }

    /// Until the pid file is read, any child that ends may have been init.
    pub fn keep_orphan(&mut self, pid: i32, exit: Exit) {
        if self.pid.is_none() && self.orphans.len() < MOST_ORPHANS {
            self.orphans.push((pid, exit));
        }
    }

    /// Whether init, whose pidfd says that it ended, is no child of ours.
    pub fn is_gone_elsewhere(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.pidfd
            .as_ref()
            .is_some_and(|pidfd| matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Err(rustix::io::Errno::CHILD)))
    }

    /// Init has ended: keeps what only its cgroup knows.
    pub fn ended(&mut self, epoll: &Epoll) {
        self.exited_at = Some(crate::clock::now());
        self.oom_killed = self.oom.killed();
        if let Some(pidfd) = self.pidfd.take() {
            let _ = epoll.delete(&pidfd);
        }
    }

    /// Sends init a signal; it may have ended meanwhile.
    pub fn signal(&self, signal: Signal) {
        if let Some(pidfd) = &self.pidfd {
            let _ = signal_pidfd(pidfd, signal.0);
        }
    }

    /// Whether init would take the signal now. Init is not reaped while we hold
    /// its pidfd, so the pid is its own.
    pub fn awaits(&self, signal: Signal) -> bool {
        match (&self.pidfd, self.pid) {
            (Some(_), Some(pid)) => {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                is_awaited(&status, signal)
            }
            _ => true,
        }
    }
}
