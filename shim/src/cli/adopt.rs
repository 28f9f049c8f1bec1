//! `firn-shim adopt NAME`: a container whose monitor was killed gets another one.

use crate::container::adopt::{Found, take_over};
use crate::control::client::Client;
use crate::reactor::signals::Signals;
use crate::sys;
use clap::Args;
use firn::error::{Context, Error, Result};
use std::io::{PipeWriter, Read, Write, pipe};
use std::path::{Path, PathBuf};

/// The exit status when there is nothing to take over.
const NOTHING: u8 = 3;
/// What the new monitor says to the command, besides errors.
const TAKEN: &str = "taken";

/// The options of `adopt`.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Name of the container
    name: String,
    /// Where the monitors keep a directory for each container
    #[arg(long, value_name = "DIR", default_value = "/run/firn/shim")]
    state_dir: PathBuf,
}

/// Returns when a monitor runs the container: the one that there is, or a new one in the background,
/// which has taken all of it over.
pub(super) fn run(options: &Options) -> Result<u8> {
    let (base, name) = (std::path::absolute(&options.state_dir).doing(|| "--state-dir")?, options.name.as_str());
    if Client::connect(&base, name)?.is_some() {
        return Ok(0);
    }
    // First of all: a stop must not end the new monitor half way.
    let signals = Signals::block().doing(|| "signalfd")?;
    let (mut from_monitor, to_command) = pipe().doing(|| "pipe")?;
    if sys::fork_daemon().doing(|| "fork")? {
        drop(from_monitor);
        return run_monitor(&base, name, signals, to_command);
    }
    drop(to_command);
    let mut answer = String::new();
    from_monitor.read_to_string(&mut answer).doing(|| "read from the new monitor")?;
    match answer.split_once(' ') {
        Some((TAKEN, _)) => Ok(0),
        Some(("nothing", why)) => {
            let _ = writeln!(std::io::stderr(), "firn-shim: container {name}: nothing to take over: {why}");
            Ok(NOTHING)
        }
        Some((_, why)) => Err(Error::new(why.to_owned())),
        None => Err(Error::new(format!("container {name}: the new monitor has ended without a word"))),
    }
}

/// The new monitor.
fn run_monitor(base: &Path, name: &str, signals: Signals, mut to_command: PipeWriter) -> Result<u8> {
    let mut answer = |text: &str| {
        let _ = to_command.write_all(text.as_bytes());
    };
    // A service manager of the command's is none of the container's.
    match take_over(base, name, signals, None) {
        Ok(Found::Container(container)) => {
            answer(&format!("{TAKEN} "));
            drop(to_command);
            container.run_to_end(None)
        }
        Ok(Found::Monitor(_)) => {
            answer(&format!("{TAKEN} "));
            Ok(0)
        }
        Ok(Found::Nothing(why)) => {
            answer(&format!("nothing {why}"));
            Ok(0)
        }
        Err(error) => {
            answer(&format!("error {}", error.chain()));
            Ok(1)
        }
    }
}
