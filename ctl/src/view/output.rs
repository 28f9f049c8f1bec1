//! The output of containers, as it comes, until they have ended.

use crate::apply::end::Ended;
use crate::generation::Container;
use crate::interrupt;
use crate::log::follow::{Follower, wait};
use crate::log::read::Line;
use anyhow::Result;
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{Event, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};

/// A container whose output is shown.
#[derive(Debug)]
pub struct Shown {
    pub container: Container,
    pub log: Follower,
    /// `None`: it has ended.
    monitor: Option<Client>,
}

impl Shown {
    /// From where the log is now.
    pub fn begin(container: &Container) -> Result<Self> {
        let log = Follower::at_end(&container.log())?;
        Ok(Shown { container: container.clone(), log, monitor: None })
    }

    /// How it has ended, in words.
    fn end(&self) -> String {
        let ended = Ended::read(&self.container);
        match ended.as_ref().and_then(|ended| ended.status.map(|status| (status, &ended.reason))) {
            Some((status, _)) => format!("ended with status {status}"),
            None => ended.map_or_else(|| "has ended".into(), |ended| format!("has ended: {}", ended.reason)),
        }
    }

    /// The lines that have come, and whether it has ended now.
    fn go_on(&mut self) -> Result<(Vec<Line>, bool)> {
        let has_ended = self.monitor.as_mut().is_some_and(has_ended);
        let lines = self.log.read()?;
        if has_ended {
            self.monitor = None;
        }
        Ok((lines, has_ended))
    }
}

/// What is shown of a container.
#[derive(Debug)]
pub enum Said<'a> {
    Line(&'a Line),
    /// How it has ended, in words.
    End(&'a str),
}

/// Prints what a container has said.
pub type Print<'a> = &'a dyn Fn(&Container, &Said<'_>) -> Result<()>;

/// Shows what comes until all have ended, or a signal has come.
pub fn follow(shown: &mut [Shown], print: Print<'_>) -> Result<()> {
    for one in shown.iter_mut() {
        one.monitor = one.container.connect()?;
        if let Some(monitor) = &mut one.monitor {
            monitor.call(Request::Subscribe)?;
        }
    }
    loop {
        for one in shown.iter_mut() {
            let (lines, has_ended) = one.go_on()?;
            for line in lines {
                print(&one.container, &Said::Line(&line))?;
            }
            if has_ended {
                print(&one.container, &Said::End(&one.end()))?;
            }
        }
        if interrupt::has_come() || shown.iter().all(|one| one.monitor.is_none()) {
            return Ok(());
        }
        let mut fds: Vec<BorrowedFd<'_>> = interrupt::fd().into_iter().collect();
        fds.extend(shown.iter().map(|one| one.log.as_fd()));
        fds.extend(shown.iter().filter_map(|one| one.monitor.as_ref()).map(AsFd::as_fd));
        // What a monitor has said already is no longer in its socket.
        if !shown.iter().any(|one| one.monitor.as_ref().is_some_and(Client::has_events)) {
            wait(&fds)?;
        }
    }
}

/// Takes the events that are there.
fn has_ended(monitor: &mut Client) -> bool {
    while monitor.has_events() || is_readable(monitor) {
        if matches!(monitor.next_event(), Ok(Some(Event::Ended { .. }) | None) | Err(_)) {
            return true;
        }
    }
    false
}

fn is_readable(monitor: &Client) -> bool {
    poll(&mut [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
