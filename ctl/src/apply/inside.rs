//! Programs that are run in a container for us.

use crate::generation::Container;
use crate::host::program;
use crate::interrupt;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// The last directories of PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program in the container, and waits for its end. `system`: whose programs come first in PATH.
pub fn run(container: &Container, system: Option<&Path>, command: &[String]) -> Result<Output> {
    program_inside(container, system, command).output().context("run firn-shim")
}

/// The same for a program that may take until `end`; `None`: it has not ended by then, and is no longer
/// waited for.
pub fn run_until(
    container: &Container,
    system: Option<&Path>,
    command: &[String],
    end: Instant,
) -> Result<Option<Output>> {
    let mut child = program_inside(container, system, command);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("run firn-shim")?;
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let left = end.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    fds.extend(interrupt::fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    let _ = poll(&mut fds, timeout);
    if fds[0].any() != Some(true) {
        child.kill().and_then(|()| child.wait()).context("end firn-shim")?;
        return Ok(None);
    }
    child.wait_with_output().map(Some).context("wait for firn-shim")
}

fn program_inside(container: &Container, system: Option<&Path>, command: &[String]) -> Command {
    let mut path: Vec<String> = Vec::new();
    path.extend(
        system.into_iter().flat_map(|system| ["sw/bin", "bin"].map(|dir| system.join(dir).display().to_string())),
    );
    path.push(DEFAULT_PATH.into());
    let mut shim = Command::new(program("firn-shim"));
    shim.args(["exec", "--no-stdin", "--state-dir"]).arg(container.places().monitors());
    shim.args(["--user", "0:0", "--env", &format!("PATH={}", path.join(":")), "--env", "HOME=/root"]);
    shim.arg(&container.name).args(command).stdin(Stdio::null());
    shim
}

/// The units of systemd that have failed; none where it is no systemd that runs.
pub fn failed_units(container: &Container, system: Option<&Path>) -> Vec<String> {
    let words = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"];
    let output = run(container, system, &words.map(String::from));
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.split_whitespace().next().map(String::from)).collect()
}
