//! One attempt to run the container: from `create` to the end of `delete`.

use super::oom::OomCounters;
use super::policy::Cause;
use crate::process::Process;
use crate::process::exit::Exit;
use crate::process::pty::ConsoleSocket;
use crate::process::reaper::Identity;
use crate::reactor::timer;
use crate::reactor::{Interest, Reactor, Token};
use crate::signal::Signal;
use firn::error::{Context, Error, Result};
use firn::state::rfc3339;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Ends of children that are remembered while `create` runs.
const ORPHANS_LIMIT: usize = 64;

/// What is known of an attempt, and what is open while it lasts. Times are RFC 3339, UTC.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Since the boot (CLOCK_MONOTONIC).
    pub(super) began: Duration,
    pub(super) started_at: String,
    /// When the runtime had created it.
    pub(super) created_at: Option<String>,
    /// When the runtime had started its init.
    pub(super) init_at: Option<String>,
    pub(super) ready_at: Option<String>,
    pub(super) exited_at: Option<String>,
    /// The container's last STATUS=.
    pub(super) status_text: Option<String>,
    /// Of init; it stays when init has ended.
    pub(super) pid: Option<i32>,
    /// By which init is known again where its pidfd is lost.
    identity: Option<Identity>,
    /// From the end of `create` until it is reaped.
    #[serde(skip)]
    init: Option<Process>,
    /// How init has ended, it seems, while another process is to reap it and has not.
    #[serde(skip)]
    zombie: Option<Exit>,
    /// Children that ended while `create` ran, one of which may be init.
    #[serde(skip)]
    orphans: Vec<(i32, Exit)>,
    #[serde(skip)]
    console: Option<ConsoleSocket>,
    oom: OomCounters,
    pub(super) oom_killed: Option<bool>,
    /// How often the runtime's `delete` was killed.
    #[serde(skip)]
    pub(super) deletes: u32,
    /// How init ended; set when the attempt is over.
    pub(super) exit: Option<Exit>,
    /// Why the monitor ended it; set when the attempt is over.
    pub(super) cause: Option<Cause>,
    /// Why the runtime could not create or start it.
    #[serde(skip)]
    pub(super) failure: Option<Error>,
    /// There is a container of this name that the monitor has not made.
    pub(super) is_anothers: bool,
}

impl Attempt {
    /// An attempt that begins now.
    pub(super) fn begin() -> Attempt {
        Attempt {
            began: timer::since_boot(),
            started_at: rfc3339(SystemTime::now()),
            created_at: None,
            init_at: None,
            ready_at: None,
            exited_at: None,
            status_text: None,
            pid: None,
            identity: None,
            init: None,
            zombie: None,
            orphans: Vec::new(),
            console: None,
            oom: OomCounters::default(),
            oom_killed: None,
            deletes: 0,
            exit: None,
            cause: None,
            failure: None,
            is_anothers: false,
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
        self.identity = Identity::of_pid(pid);
        self.oom = OomCounters::of(pid);
        Ok(None)
    }

    /// Goes on with the init of a monitor that was killed, by its pidfd where that was held. False: it
    /// is gone, and how it ended is not known.
    pub(super) fn take_over_init(&mut self, pidfd: Option<OwnedFd>, reactor: &Reactor) -> Result<bool> {
        let Some(pid) = self.pid else { return Ok(false) };
        let init = match pidfd {
            Some(pidfd) => Process::of_pidfd(pid, pidfd),
            None => match Process::open(pid) {
                // Opened before the look, so that what is looked at is what the pidfd holds.
                Ok(init) if self.identity.is_some() && Identity::of_pid(pid) == self.identity => init,
                _ => return Ok(false),
            },
        };
        reactor.add(&init, Interest::Readable, Token::Init).doing(|| "epoll_ctl: pidfd")?;
        self.init = Some(init);
        Ok(true)
    }

    /// Init's pidfd, until it is reaped.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(AsFd::as_fd)
    }

    /// Whether init is process `pid` and was not reaped before.
    pub(super) fn is_init(&self, pid: i32) -> bool {
        self.init.as_ref().is_some_and(|init| init.pid() == pid)
    }

    /// Whether init is there, and was not reaped.
    pub(super) fn init_runs(&self) -> bool {
        self.init.is_some()
    }

    /// Whether init has ended, and nothing was done about it yet.
    pub(super) fn init_has_ended(&self) -> bool {
        self.init.as_ref().is_some_and(Process::has_ended)
    }

    /// Remembers a child that was reaped: until the pid file is read, it may have been init.
    pub(super) fn remember_orphan(&mut self, pid: i32, exit: Exit) {
        if self.pid.is_none() && self.orphans.len() < ORPHANS_LIMIT {
            self.orphans.push((pid, exit));
        }
    }

    /// How init, whose pidfd is readable, ended, where another process reaps it: this monitor has taken
    /// it over, or the runtime keeps a parent of its own for it. `None`: it is our child, or its parent
    /// has not reaped it yet. Then the pidfd is ready once more, when it has. `told`: what the keeper has heard.
    pub(super) fn exit_elsewhere(&mut self, reactor: &Reactor, told: impl FnOnce() -> Option<Exit>) -> Option<Exit> {
        let init = self.init.as_ref().filter(|init| init.is_reaped_elsewhere())?;
        if let Some(exit) = init.exit_if_reaped().or_else(told) {
            return Some(exit);
        }
        if self.zombie.is_some() {
            // It was reaped, and the kernel does not keep how it ended.
            return self.exit_of_zombie();
        }
        let exit = init.exit_of_zombie().unwrap_or(Exit::Unknown);
        // What it is not allowed to know is shown as 0.
        if !matches!(exit, Exit::Status(0) | Exit::Unknown) {
            return Some(exit);
        }
        let waits = reactor.remove(init).and_then(|()| reactor.add(init, Interest::HangUp, Token::Init));
        self.zombie = Some(exit);
        waits.is_err().then_some(Exit::Unknown)
    }

    /// How init ended, which its parent has not reaped, or before the kernel says how. For root a
    /// status of 0 is one.
    pub(super) fn exit_of_zombie(&self) -> Option<Exit> {
        match self.zombie {
            Some(Exit::Status(0)) if !nix::unistd::geteuid().is_root() => Some(Exit::Unknown),
            exit => exit,
        }
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
