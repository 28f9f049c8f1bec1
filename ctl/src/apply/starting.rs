//! A monitor from its start until the container is ready.

use super::end::{Ended, NotReady, last_lines};
use crate::definition::schema::Definition;
use crate::generation::{Container, Locked};
use crate::host::program;
use crate::interrupt;
use crate::wanted::monitor;
use anyhow::{Context, Result, anyhow};
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{Event, Request, State, Status};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A monitor whose first client we are.
#[derive(Debug)]
pub struct Starting<'a> {
    container: &'a Locked<'a>,
    client: Client,
    monitor: Child,
    messages: ChildStderr,
}

impl<'a> Starting<'a> {
    /// Starts the monitor of a container that has a bundle. It lives on when we end.
    pub fn begin(container: &'a Locked<'a>, definition: &Definition) -> Result<Self> {
        let (client, theirs) = first_message(container)?;
        let mut command = Command::new(program("firn-shim"));
        command.args(monitor::arguments(container, definition));
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C at our terminal is for us: we stop the container then, in its turn.
        command.process_group(0);
        let mut monitor = command.spawn().context("run firn-shim")?;
        let messages = monitor.stderr.take().context("a pipe")?;
        Ok(Starting { container, client, monitor, messages })
    }

    /// Waits until it is ready; `tell` hears of each change. Errors: it has ended, or has failed once;
    /// then its monitor is ended too.
    pub fn wait(mut self, tell: &dyn Fn(&Status)) -> Result<()> {
        let failed = match until_ready(self.container, &mut self.client, tell) {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            // The monitor has closed the connection: it says why on its stderr.
            Err(error) => Some(error),
        };
        // The record of its first end; that of a killed one has another reason.
        let is_late = is_late(self.container);
        let request = if interrupt::has_come() { Request::Stop { timeout: None } } else { Request::Kill };
        let _ = self.client.call(request);
        while !matches!(self.client.next_event(), Ok(Some(Event::Ended { .. }) | None) | Err(_)) {}
        let _ = self.monitor.wait();
        Err(self.reason(failed, is_late))
    }

    /// What the monitor has said, and what the container has printed last.
    fn reason(mut self, failed: Option<anyhow::Error>, is_late: bool) -> anyhow::Error {
        if interrupt::has_come() {
            return anyhow!("container {}: interrupted before it was ready, and stopped", self.container.name);
        }
        let mut said = String::new();
        let _ = self.messages.read_to_string(&mut said);
        let name = &self.container.name;
        let Some(reason) = first_reason(&said) else {
            return failed.unwrap_or_else(|| anyhow!("container {name}: has ended before it was ready"));
        };
        told_failure(self.container, reason, is_late)
    }
}

/// A reason as the monitor has said it, with what the container has printed last.
pub(super) fn told_failure(container: &Container, reason: &str, is_late: bool) -> anyhow::Error {
    let name = &container.name;
    let own = [format!("container {name}: "), format!("{name} ")];
    let reason = own.iter().find_map(|own| reason.strip_prefix(own)).unwrap_or(reason);
    let mut text = format!("container {name}: {reason}");
    let printed = last_lines(&container.log(), 10);
    if !printed.is_empty() && !text.contains("its last lines") {
        text += &format!("; its last lines:\n{}", printed.join("\n"));
    }
    if is_late { NotReady(text).into() } else { anyhow!(text) }
}

/// Whether it ended last since it was not ready in time.
pub(super) fn is_late(container: &Container) -> bool {
    Ended::read(container).is_some_and(|ended| ended.is_too_late())
}

/// A client of a monitor that is not started yet, and the monitor's end of the connection, its stdin. In the
/// first message is the lock: if we are killed, the next firnctl waits until the monitor has read it, and
/// can be spoken to.
pub(super) fn first_message(container: &Locked<'_>) -> Result<(Client, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).context("socketpair")?;
    let mut client = Client::over(ours, &container.name);
    client.send(Request::Subscribe, &[container.as_fd()])?;
    Ok((client, theirs))
}

/// Waits until a container that runs is ready, though another firnctl has started it.
pub fn wait_for_another(container: &Container, tell: &dyn Fn(&Status)) -> Result<()> {
    let ended = || anyhow!("container {}: has ended before it was ready", container.name);
    let mut client = container.connect()?.ok_or_else(ended)?;
    client.send(Request::Subscribe, &[])?;
    if until_ready(container, &mut client, tell)? { Ok(()) } else { Err(ended()) }
}

/// Whether it has become ready, by the events that were subscribed to; false: it has ended or failed before that, or
/// a signal has come.
fn until_ready(container: &Container, client: &mut Client, tell: &dyn Fn(&Status)) -> Result<bool> {
    // One that ends at once may have been ready in between.
    let was_ready = || Ended::read(container).is_some_and(|end| end.ready_at.is_some());
    let (reply, _) = client.reply()?;
    let mut status = reply.status.context("the monitor has sent no status")?;
    loop {
        tell(&status);
        let has_failed = status.restarts > 0 || status.state == State::Restarting;
        match status.state {
            State::Running => return Ok(true),
            _ if has_failed && !Ended::read(container).is_some_and(|end| end.is_restart()) => {
                return Ok(was_ready());
            }
            _ => {}
        }
        status = loop {
            if !client.has_events() && !interrupt::wait_for(client.as_fd())? {
                return Ok(false);
            }
            match client.next_event()? {
                Some(Event::Status(status)) => break status,
                Some(Event::ExecEnded { .. } | Event::Happened(_)) => {}
                Some(Event::Ended { .. }) | None => return Ok(was_ready()),
            }
        };
    }
}

/// Of the monitor's messages the one that says why it first failed: the first that tells of another try,
/// else its error. Some have several lines.
fn first_reason(said: &str) -> Option<&str> {
    const BEGIN: &str = "firn-shim: ";
    let again =
        said.find("; starting it again").and_then(|end| Some(&said[said[..end].rfind(BEGIN)? + BEGIN.len()..end]));
    let error = || said.split_once("firn-shim: error: ").map(|(_, error)| error.trim_end());
    let any = || said.lines().find_map(|line| line.strip_prefix(BEGIN));
    again.or_else(error).or_else(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_reason() {
        for (said, reason) in [
            ("firn-shim: create: no; starting it again in 100 ms\nfirn-shim: error: stopped\n", Some("create: no")),
            (
                "firn-shim: a: not ready; its last lines:\nx\ny; starting it again\n",
                Some("a: not ready; its last lines:\nx\ny"),
            ),
            ("firn-shim: error: bundle b: missing\n", Some("bundle b: missing")),
            ("firn-shim: a ended with status 1\n", Some("a ended with status 1")),
            ("", None),
        ] {
            assert_eq!(first_reason(said), reason, "{said}");
        }
    }
}
