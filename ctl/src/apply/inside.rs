//! Programs that are run in a container for us. They may be the container's own, and hostile: what they
//! print is bounded, and so is the time that they are waited for.

use crate::generation::Container;
use crate::host::program;
use crate::interrupt;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The last directories of PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes that are kept of each stream.
const KEPT: u64 = 64 << 10;

/// How long systemd is asked for its failed units.
const ASKING: Duration = Duration::from_secs(10);

/// How a program has ended, and what it has printed.
#[derive(Debug)]
pub struct Answer {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program in the container. `system`: whose programs come first in PATH. `None`: it has not ended by
/// `end`, and is no longer waited for. Errors: a signal has come.
pub fn run(
    container: &Container,
    system: Option<&Path>,
    command: &[String],
    end: Option<Instant>,
) -> Result<Option<Answer>> {
    let mut child = program_inside(container, system, command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run firn-shim")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let stdout = scope.spawn(|| kept(stdout));
        let stderr = scope.spawn(|| kept(stderr));
        let status = wait(&mut child, end)?;
        let texts = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        Ok(status.map(|status| Answer { status, stdout: texts.0, stderr: texts.1 }))
    })
}

/// Ends the client where the time is over or a signal has come; so its streams end too.
fn wait(child: &mut Child, end: Option<Instant>) -> Result<Option<ExitStatus>> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("pidfd_open")?;
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    fds.extend(interrupt::fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    while poll(&mut fds, timeout) == Err(nix::Error::EINTR) {}
    if fds[0].any() == Some(true) {
        return child.wait().map(Some).context("wait for firn-shim");
    }
    child.kill().and_then(|()| child.wait()).context("end firn-shim")?;
    if interrupt::has_come() {
        bail!("interrupted");
    }
    Ok(None)
}

/// The beginning of a stream, which is read to its end.
fn kept(stream: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.by_ref().take(KEPT).read_to_end(&mut text);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    String::from_utf8_lossy(&text).into_owned()
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

/// The units of systemd that have failed; none where it is no systemd that runs, or it does not answer.
pub fn failed_units(container: &Container, system: Option<&Path>) -> Result<Vec<String>> {
    let words = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"];
    let answer = run(container, system, &words.map(String::from), Some(Instant::now() + ASKING))?;
    let text = answer.filter(|answer| answer.status.success()).map(|answer| answer.stdout).unwrap_or_default();
    Ok(text.lines().filter_map(|line| line.split_whitespace().next().map(String::from)).collect())
}
