//! The unit of a container, and what systemd is asked to do with it.

use crate::host::Places;
use crate::interrupt;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// It is there where systemd is process 1 (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
const TEMPLATE: &str = "firn@.service";
/// Starts the process that serves names and loopback ports.
const NETWORK: &str = "firn-network.socket";
/// Where systemd looks for units (systemd.unit(5)), but for what generators make.
const LOAD_PATH: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/current-system/sw/lib/systemd/system",
];
/// Of a unit's name, with the NUL byte (unit-name.h of systemd).
const NAME_LIMIT: usize = 256;

/// A container's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    name: String,
    template: PathBuf,
}

/// What came of a start.
#[derive(Debug, PartialEq, Eq)]
pub enum Started {
    Ready,
    /// What systemctl has said.
    Failed(String),
    /// A signal has come first.
    Interrupted,
}

impl Unit {
    /// `None`: systemd does not run, the template is not installed, or firnctl has directories of its
    /// own.
    pub fn of(container: &str, places: &Places) -> Option<Self> {
        let name = name_of(container);
        let template = template(places).filter(|_| name.len() < NAME_LIMIT)?;
        Some(Unit { name, template })
    }

    /// Whether containers are units at all.
    pub fn are_used(places: &Places) -> bool {
        template(places).is_some()
    }

    /// The file that it is made from.
    pub fn template(&self) -> &Path {
        &self.template
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it, and waits until the container is ready. One that is about to end is started again.
    pub fn start_anew(&self) -> Result<Started> {
        // Ctrl-C at our terminal is for us.
        let mut command = Command::new("systemctl");
        command.args(["restart", &self.name]).process_group(0);
        let mut systemctl = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut messages = systemctl.stderr.take().context("a pipe")?;
        let mut said = Vec::new();
        let mut buffer = [0; 512];
        loop {
            if !interrupt::wait_for(messages.as_fd())? {
                // The job goes on without it.
                systemctl.kill().and_then(|()| systemctl.wait()).context("end systemctl")?;
                return Ok(Started::Interrupted);
            }
            match messages.read(&mut buffer).context("read from systemctl")? {
                0 => break,
                count => said.extend(&buffer[..count]),
            }
        }
        let status = systemctl.wait().context("wait for systemctl")?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Ok(if status.success() { Started::Ready } else { Started::Failed(said) })
    }

    /// Has systemd start firn-network when it is asked, outside of any container's unit.
    pub fn serve_network(&self) -> Result<()> {
        match self.template.with_file_name(NETWORK).exists() {
            true => systemctl(&["start", NETWORK]),
            false => Ok(()),
        }
    }

    /// Has a monitor take over what a killed one has left, and waits for that.
    pub fn take_over(&self) -> Result<()> {
        systemctl(&["start", &self.name])
    }

    /// Waits until it has ended, after its monitor.
    pub fn stop(&self) -> Result<()> {
        systemctl(&["stop", &self.name])
    }
}

fn template(places: &Places) -> Option<PathBuf> {
    if !places.are_default() || !is_booted() {
        return None;
    }
    LOAD_PATH.iter().map(|directory| Path::new(directory).join(TEMPLATE)).find(|path| path.exists())
}

/// Whether systemd is process 1.
pub fn is_booted() -> bool {
    Path::new(SYSTEMD).is_dir()
}

/// `%i` of the template is the container's name as it is: all its characters may stand in a unit's.
pub fn name_of(container: &str) -> String {
    format!("firn@{container}.service")
}

/// Errors: it has failed.
pub fn systemctl(args: &[&str]) -> Result<()> {
    let output = Command::new("systemctl").args(args).stdin(Stdio::null()).output().context("run systemctl")?;
    if !output.status.success() {
        bail!("systemctl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
