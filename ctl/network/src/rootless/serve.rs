//! `firn-network user-serve FILE PID`: process 1 of a pid namespace with pasta or slirp4netns in it, for as long as the
//! container's init runs.

use super::{READY, lock, pasta, read, slirp};
use crate::resident::close_inherited;
use anyhow::{Context, Result, bail};
use caps::CapSet;
use firn_network::message::Helper;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::wait;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::mount_bind;
use rustix::process::{getpid, setsid};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Starts the program, says so on stdout, and ends with the container's init, whose pidfd is stdin.
pub fn serve(file: &Path, init: &str) -> Result<()> {
    // It ends with a signal to all processes that it sees.
    if getpid().as_raw_nonzero().get() != 1 {
        bail!("user-serve: is process 1 of a pid namespace, which `firn-network user-up` makes");
    }
    close_inherited()?;
    let _ = setsid();
    let network = read(file)?;
    let lock = lock(file)?;
    // The program has it too: it lasts until that has ended.
    fcntl_setfd(&lock, FdFlags::empty()).context("keep the lock over execve")?;
    let directory = file.parent().context("a file has a directory")?;
    // The names of sockets are short (unix(7)).
    std::env::set_current_dir(directory).with_context(|| directory.display().to_string())?;
    let namespace = show_namespace(init, file)?;
    let messages = match network.helper {
        Helper::Pasta => pasta::start(&network, &namespace).map(|()| None)?,
        Helper::Slirp4netns => slirp::start(&network, &namespace)?,
    };
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).context("drop capabilities")?;
    }
    std::env::set_current_dir("/").context("change to /")?;
    if let Some(mut messages) = messages {
        std::thread::spawn(move || std::io::copy(&mut messages, &mut std::io::sink()));
    }
    let init = std::io::stdin().as_fd().try_clone_to_owned().context("take the pidfd from stdin")?;
    std::io::stdout().write_all(READY.as_bytes()).context("tell that the network is there")?;
    close_standard_streams()?;
    wait_for_end(&init)?;
    end_all()
}

/// Shows the container's network namespace as a file, in a mount namespace of our own. pasta gives up CAP_SYS_PTRACE
/// before it opens it, without which init's /proc/PID/ns is closed to it.
fn show_namespace(init: &str, file: &Path) -> Result<String> {
    let path = file.with_extension("namespace");
    let what = || format!("mount the network namespace at {}", path.display());
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    File::create(&path).with_context(what)?;
    mount_bind(format!("/proc/{init}/ns/net"), &path).with_context(what)?;
    path.into_os_string().into_string().ok().context("a path of firnctl's is no UTF-8")
}

/// The hook reads until they are closed.
fn close_standard_streams() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .context("close the standard streams")
}

fn wait_for_end(init: &OwnedFd) -> Result<()> {
    loop {
        match poll(&mut [PollFd::new(init, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map(drop).context("wait for the end of the container"),
        }
    }
}

/// Ends what is in this pid namespace, and waits for it, so that its ports are free when the lock is.
fn end_all() -> Result<()> {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).context("end the network's program"),
    }
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno).context("wait for the network's program"),
        }
    }
}
