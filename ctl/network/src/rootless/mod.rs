//! The network of an ordinary user's container, by pasta(1) or slirp4netns(1): a tap device in the container's network
//! namespace, whose packets a process of the user's makes connections of its own from.
//!
//! Such a program keeps the namespace that it serves, so its end has to be seen to. It runs in a pid namespace whose
//! process 1 is `firn-network user-serve`, which waits for the end of the container's init: whatever of all this is
//! killed, the kernel ends the rest (pid_namespaces(7)).

mod pasta;
pub mod serve;
mod slirp;

use crate::{init_of_stdin, record};
use anyhow::{Context, Result, bail};
use firn_network::message::{Times, UserNetwork, VERSION};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// What `user-serve` prints when the network is there; all else is its error.
const READY: &str = "ready\n";
/// How long the process of an earlier run may take to end.
const ENDING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Makes the network of the container whose state is on stdin: a hook, run by the container's user.
pub fn up(file: &Path) -> Result<()> {
    let began = SystemTime::now();
    let number = init_of_stdin()?;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).context("the pid of init")?;
    let init = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let mut times = record::begin_times(file)?;
    // With the rights over the container's namespaces that its root has, and none over the host's.
    let users = File::open(format!("/proc/{number}/ns/user")).context("open the container's user namespace")?;
    setns(users, CloneFlags::CLONE_NEWUSER).context("enter the container's user namespace")?;
    unshare(CloneFlags::CLONE_NEWPID).context("make a pid namespace")?;
    let (mut answer, theirs) = std::io::pipe().context("make a pipe")?;
    let mut serve = Command::new("/proc/self/exe");
    serve.arg0("firn-network").arg("user-serve").arg(file).arg(number.to_string());
    serve.stdin(Stdio::from(init)).stdout(theirs.try_clone().context("copy a descriptor")?).stderr(theirs);
    let child = serve.spawn().context("run firn-network user-serve")?;
    // It has the other end alone.
    drop(serve);
    let mut text = String::new();
    answer.read_to_string(&mut text).context("read from firn-network user-serve")?;
    if text != READY {
        let text = text.trim().trim_start_matches("firn-network: ");
        bail!("{}", if text.is_empty() { "firn-network user-serve was killed" } else { text });
    }
    // It stays.
    drop(child);
    record::write(&mut times, &Times { began, ended: SystemTime::now() })
}

/// Waits until nothing of the container's network runs: its init has ended.
pub fn down(file: &Path) -> Result<()> {
    lock(file).map(drop)
}

/// The lock that the processes of a network hold. Errors: they have not ended in time.
fn lock(file: &Path) -> Result<File> {
    let path = file.with_extension("serves");
    let what = || format!("lock {}", path.display());
    let lock =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).with_context(what)?;
    let end = Instant::now() + ENDING;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => bail!("the network of the container's last run has not ended yet"),
            Err(errno) => return Err(errno).with_context(what),
        }
    }
}

fn read(path: &Path) -> Result<UserNetwork> {
    let what = || format!("read {}", path.display());
    let network: UserNetwork = serde_json::from_slice(&std::fs::read(path).with_context(what)?).with_context(what)?;
    if network.version != VERSION {
        bail!("{}: version {} is of another firn: its firn-network makes it", path.display(), network.version);
    }
    Ok(network)
}
