//! `firn-shim status|stop|kill|restart NAME`: one request to the monitor of a container.

use crate::control::client::Client;
use crate::control::protocol::{Event, Request, State, Status};
use crate::signal::Signal;
use clap::Args;
use firn::error::{Context, Error, Result};
use std::io::Write;
use std::path::PathBuf;

/// Which container.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// Name of the container
    name: String,
    /// Where the monitors keep a directory for each container
    #[arg(long, value_name = "DIR", default_value = "/run/firn/shim")]
    state_dir: PathBuf,
}

impl Target {
    /// A connection to its monitor. Errors: none runs.
    pub(super) fn connect(&self) -> Result<Client> {
        let client = Client::connect(&self.state_dir, &self.name)?;
        client.ok_or_else(|| Error::new(format!("container {}: no monitor runs it", self.name)))
    }
}

/// The options of `status`.
#[derive(Debug, Clone, Args)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The options of `stop`.
#[derive(Debug, Clone, Args)]
pub(super) struct StopOptions {
    #[command(flatten)]
    target: Target,
    /// Seconds from the stop signal to SIGKILL [default: that of run]
    #[arg(long, short, value_name = "SECS")]
    timeout: Option<u32>,
    /// Don't wait for its end
    #[arg(long)]
    no_wait: bool,
}

/// The options of `kill`.
#[derive(Debug, Clone, Args)]
pub(super) struct KillOptions {
    #[command(flatten)]
    target: Target,
    /// Signal for init. KILL, and no signal, end all processes, and nothing is restarted
    #[arg(default_value = "KILL")]
    signal: Signal,
}

/// The options of `restart` and `reopen-logs`.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetOptions {
    #[command(flatten)]
    target: Target,
}

/// Prints the status.
pub(super) fn status(options: &StatusOptions) -> Result<u8> {
    let (reply, _) = options.target.connect()?.call(Request::Status)?;
    let status = reply.status.ok_or_else(|| Error::new("the monitor has sent no status"))?;
    let text = match options.json {
        true => serde_json::to_string_pretty(&status).doing(|| "status")? + "\n",
        false => describe(&status),
    };
    std::io::stdout().write_all(text.as_bytes()).doing(|| "write to stdout")?;
    Ok(0)
}

fn describe(status: &Status) -> String {
    let since = status.ready_at.as_ref().unwrap_or(&status.started_at);
    let mut text = format!("{}: {} since {since}", status.id, status.state.name());
    if let Some(pid) = status.pid {
        text += &format!(", pid {pid}");
    }
    if status.restarts > 0 {
        text += &format!(", restarts {}", status.restarts);
    }
    if let Some(said) = &status.status_text {
        text += &format!(": {}", firn::log::printable(said));
    }
    text + "\n"
}

/// Stops the container, and waits for its end: 0 if the monitor ended with 0, else 1.
pub(super) fn stop(options: &StopOptions) -> Result<u8> {
    let mut client = options.target.connect()?;
    client.call(Request::Subscribe)?;
    client.call(Request::Stop { timeout: options.timeout })?;
    if options.no_wait { Ok(0) } else { wait_for_end(&mut client) }
}

/// Sends a signal.
pub(super) fn kill(options: &KillOptions) -> Result<u8> {
    let mut client = options.target.connect()?;
    match options.signal {
        Signal::KILL => client.call(Request::Kill)?,
        Signal(number) => client.call(Request::Signal { number })?,
    };
    Ok(0)
}

/// Has the log's files opened anew.
pub(super) fn reopen_logs(options: &TargetOptions) -> Result<u8> {
    options.target.connect()?.call(Request::ReopenLogs)?;
    Ok(0)
}

/// Restarts the container, and waits until it is ready.
pub(super) fn restart(options: &TargetOptions) -> Result<u8> {
    let mut client = options.target.connect()?;
    let (reply, _) = client.call(Request::Subscribe)?;
    let before = reply.status.map_or(0, |status| status.restarts);
    client.call(Request::Restart)?;
    while let Some(event) = client.next_event()? {
        match event {
            Event::Status(status) if status.state == State::Running && status.restarts > before => return Ok(0),
            Event::Status(_) | Event::ExecEnded { .. } | Event::Happened(_) => {}
            Event::Ended { .. } => break,
        }
    }
    Err(Error::new(format!("container {}: has ended instead", options.target.name)))
}

/// The monitor's exit code, as 0 or 1. One that was killed has none.
fn wait_for_end(client: &mut Client) -> Result<u8> {
    while let Some(event) = client.next_event()? {
        if let Event::Ended { code } = event {
            return Ok(u8::from(code != 0));
        }
    }
    Err(Error::new("the monitor has ended without a word"))
}
