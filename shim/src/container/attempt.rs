//! One attempt to run the container: from `create` to the end of `delete`.

use super::oom::OomCounters;
use super::policy::Cause;
use crate::process::Process;
use crate::process::exit::Exit;
use crate::process::pty::ConsoleSocket;
use crate::reactor::{Interest, Reactor, Token};
use crate::signal::Signal;
use firn::error::{Context, Error, Result};
use firn::state::rfc3339;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Instant, SystemTime};

/// Ends of children that are remembered while `create` runs.
const ORPHANS_LIMIT: usize = 64;

/// What is known of an attempt, and what is open while it lasts. Times are RFC 3339, UTC.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) began: Instant,
    pub(super) started_at: String,
    pub(super) ready_at: Option<String>,
    pub(super) exited_at: Option<String>,
    /// The container's last STATUS=.
    pub(super) status_text: Option<String>,
    /// Of init; it stays when init has ended.
    pub(super) pid: Option<i32>,
    /// From the end of `create` until it is reaped.
    init: Option<Process>,
    /// Children that ended while `create` ran, one of which may be init.
    orphans: Vec<(i32, Exit)>,
    console: Option<ConsoleSocket>,
    oom: OomCounters,
    pub(super) oom_killed: Option<bool>,
    /// How init ended; set when the attempt is over.
    pub(super) exit: Option<Exit>,
    /// Why the monitor ended it; set when the attempt is over.
    pub(super) cause: Option<Cause>,
    /// Why the runtime could not create or start it.
    pub(super) failure: Option<Error>,
}

impl Attempt {
    /// An attempt that begins now.
    pub(super) fn begin() -> Attempt {
        Attempt {
            began: Instant::now(),
            started_at: rfc3339(SystemTime::now()),
            ready_at: None,
            exited_at: None,
            status_text: None,
            pid: None,
            init: None,
            orphans: Vec::new(),
            console: None,
            oom: OomCounters::default(),
            oom_killed: None,
            exit: None,
            cause: None,
            failure: None,
        }
    }

    /// Waits for the runtime to send the terminal.
    pub(super) fn open_console(&mut self, socket: ConsoleSocket, reactor: &Reactor) -> Result<()> {
        reactor.add(&socket, Interest::Readable, Token::Console).doing(|| "epoll_ctl: console socket")?;
        self.console = Some(socket);
        Ok(())
    }

    /// The terminal's master, if the runtime has sent it. The socket is closed then, and also by
    /// an error: there is one terminal.
    pub(super) fn receive_master(&mut self, reactor: &Reactor) -> Result<Option<OwnedFd>> {
        let Some(socket) = &self.console else {
            return Ok(None);
        };
        let received = socket.receive_master().doing(|| "receive the terminal from the console socket");
        if !matches!(received, Ok(None)) {
            self.close_console(reactor);
        }
        received
    }

    /// Closes the console socket, if it is open.
    pub(super) fn close_console(&mut self, reactor: &Reactor) {
        if let Some(socket) = self.console.take() {
            let _ = reactor.remove(&socket);
        }
    }

    /// Opens init, whose pid `create` has written. How it ended, if it was reaped already.
    pub(super) fn adopt_init(&mut self, pid_file: &Path, reactor: &Reactor) -> Result<Option<Exit>> {
        let name = || format!("pid file {}", pid_file.display());
        let text = fs::read_to_string(pid_file).doing(name)?;
        let pid: i32 = text.trim().parse().map_err(io::Error::other).doing(name)?;
        self.pid = Some(pid);
        if let Some((_, exit)) = self.orphans.iter().find(|(orphan, _)| *orphan == pid) {
            return Ok(Some(*exit));
        }
        let init = Process::open(pid).doing(|| format!("pidfd_open {pid}"))?;
        reactor.add(&init, Interest::Readable, Token::Init).doing(|| "epoll_ctl: pidfd")?;
        self.init = Some(init);
        self.oom = OomCounters::of(pid);
        Ok(None)
    }

    /// Whether init is process `pid` and was not reaped before.
    pub(super) fn is_init(&self, pid: i32) -> bool {
        self.init.as_ref().is_some_and(|init| init.pid() == pid)
    }

    /// Whether init is there, and was not reaped.
    pub(super) fn init_runs(&self) -> bool {
        self.init.is_some()
    }

    /// Remembers a child that was reaped: until the pid file is read, it may have been init.
    pub(super) fn remember_orphan(&mut self, pid: i32, exit: Exit) {
        if self.pid.is_none() && self.orphans.len() < ORPHANS_LIMIT {
            self.orphans.push((pid, exit));
        }
    }

    /// Whether init, whose pidfd is readable, is reaped by another process.
    pub(super) fn init_is_reaped_elsewhere(&self) -> bool {
        self.init.as_ref().is_some_and(Process::is_reaped_elsewhere)
    }

    /// Closes init, which has ended, and reads what is lost with its cgroup.
    pub(super) fn close_init(&mut self, reactor: &Reactor) {
        self.exited_at = Some(rfc3339(SystemTime::now()));
        self.oom_killed = self.oom.has_killed();
        if let Some(init) = self.init.take() {
            let _ = reactor.remove(&init);
        }
    }

    /// Sends init a signal, if it runs.
    pub(super) fn send_signal(&self, signal: Signal) {
        if let Some(init) = &self.init {
            init.send_signal(signal);
        }
    }

    /// Whether a signal to init has an effect now, or never will, as it does not run.
    pub(super) fn init_takes(&self, signal: Signal) -> bool {
        self.init.as_ref().is_none_or(|init| init.takes(signal))
    }
}
