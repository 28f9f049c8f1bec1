//! A container as a unit of systemd: who starts it makes the bundle, and the unit runs the monitor.

use super::end::Ended;
use super::prepare::{prepare, run_of};
use super::starting::{first_message, told_failure, wait_for_another};
use crate::generation::{Container, Locked, Running};
use crate::host::program;
use crate::service::unit::{Started, Unit};
use crate::wanted::{monitor, root};
use anyhow::{Context, Result, anyhow, bail};
use firn_shim::control::client::Client;
use rustix::fs::{FlockOperation, flock};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Starts the unit of a container whose bundle is made, and waits until it is ready.
pub fn start(container: &Locked<'_>, unit: &Unit) -> Result<()> {
    let _prepared = Prepared::announce(container)?;
    // The unit takes the lock until its monitor can be spoken to.
    let started = container.without_lock(|| unit.start_anew())??;
    let what = || format!("container {}", container.name);
    match started {
        Started::Ready => Ok(()),
        // Its monitor was killed, and another one has taken over.
        Started::Failed(_) if container.connect()?.is_some() => wait_for_another(container, &|_| ()),
        Started::Failed(said) => {
            unit.stop().with_context(what)?;
            Err(reason(container, unit, &said))
        }
        Started::Interrupted => {
            unit.stop().with_context(what)?;
            bail!("container {}: interrupted before it was ready, and stopped", container.name)
        }
    }
}

/// What the exit record says, and what the container has printed last.
fn reason(container: &Container, unit: &Unit, said: &str) -> anyhow::Error {
    match Ended::read(container) {
        Some(ended) => told_failure(container, &ended.told(), ended.is_too_late()),
        None => anyhow!("container {}: {said}\n`journalctl --unit {}` has more", container.name, unit.name()),
    }
}

/// The main process of the unit becomes the container's monitor: one that takes over where another was
/// killed, else of a new start.
pub fn run(container: &Container) -> Result<Infallible> {
    let what = || format!("container {}", container.name);
    let places = container.places();
    // Not by `connect`, which would have systemd start this unit.
    if Client::connect(places.monitors(), &container.name).with_context(what)?.is_some() {
        bail!("container {}: runs already, and not as a unit: `firnctl stop` it first", container.name);
    }
    let running = container.running()?;
    if let Some(running) = running.filter(|_| places.monitors().join(&container.name).join("record").exists()) {
        return become_monitor(monitor::of_unit_that_adopts(container, &running.definition), Stdio::null());
    }
    let locked = container.lock_in_unit().with_context(what)?;
    let run = match Prepared::is_announced(container)? {
        true => container.running()?.with_context(what)?,
        false => prepare_installed(&locked)?,
    };
    // Nobody listens at our end: what matters is the lock in the message.
    let (_client, monitors_end) = first_message(&locked)?;
    become_monitor(monitor::of_unit(container, &run.definition), monitors_end.into())
}

/// As it is installed now.
fn prepare_installed(container: &Locked<'_>) -> Result<Running> {
    let what = || format!("container {}", container.name);
    let wanted = container.wanted()?.with_context(|| format!("container {}: is not installed", container.name))?;
    let resolved = root::resolve(&wanted.definition).with_context(what)?;
    prepare(container, run_of(&wanted.definition, resolved))
}

fn become_monitor(arguments: Vec<OsString>, stdin: Stdio) -> Result<Infallible> {
    // Descriptors of systemd's store are inherited; they are for this process id, which stays.
    Err(Command::new(program("firn-shim")).args(arguments).stdin(stdin).exec()).context("run firn-shim")
}

/// The bundle is made, for as long as this lives: a locked file, which no firnctl that was killed leaves.
struct Prepared {
    path: PathBuf,
    _lock: File,
}

impl Prepared {
    fn announce(container: &Container) -> Result<Self> {
        let path = container.prepared_file();
        let make = || {
            let file = File::create(&path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok::<_, std::io::Error>(file)
        };
        let lock = make().with_context(|| format!("lock {}", path.display()))?;
        Ok(Prepared { path, _lock: lock })
    }

    fn is_announced(container: &Container) -> Result<bool> {
        let path = container.prepared_file();
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            file => {
                let file = file.with_context(|| format!("open {}", path.display()))?;
                Ok(flock(file, FlockOperation::NonBlockingLockShared).is_err())
            }
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
