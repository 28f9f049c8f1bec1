//! Namespaces: those to join, and those that clone3(2) could not create.

use super::context::Init;
use crate::error::{Context, Result};
use crate::path::write_all;
use crate::plan::namespaces::KINDS;
use crate::spec::linux::TimeOffset;
use crate::sys::clone;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Joins the namespaces of the config by setns(2), then creates the cgroup and time
/// namespaces by unshare(2).
pub fn join_and_unshare(init: &mut Init<'_>) -> Result<()> {
    for (kind, file) in &init.sources.namespaces {
        // Joined before the clone: a pid namespace applies to children only, and the user
        // namespace has to own the new namespaces.
        if matches!(*kind, clone::NEWPID | clone::NEWUSER) {
            continue;
        }
        let name = KINDS.iter().find(|(_, flag)| flag == kind).map_or("", |(name, _)| name);
        match clone::setns(file.as_fd(), *kind) {
            Err(Errno::PERM) if is_current(file, *kind)? => {}
            result => result.doing(|| format!("join the {name} namespace"))?,
        }
    }
    let late = init.plan.namespaces.new & (clone::NEWCGROUP | clone::NEWTIME);
    if late != 0 {
        clone::unshare(late).doing(|| "create the cgroup and time namespaces")?;
    }
    write_time_offsets(init)
}

/// Whether the caller is in the namespace already: joined early, when it still had the
/// capabilities that a second setns(2) is refused without.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
fn is_current(file: &OwnedFd, kind: u64) -> Result<bool> {
    let name = match kind {
        clone::NEWNET => "net",
        clone::NEWIPC => "ipc",
        clone::NEWUTS => "uts",
        clone::NEWCGROUP => "cgroup",
        _ => return Ok(false),
    };
    let what = || format!("stat the {name} namespace");
    let own = rustix::fs::stat(format!("/proc/self/ns/{name}")).doing(what)?;
    let other = rustix::fs::fstat(file).doing(what)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// Before setresuid and PR_SET_DUMPABLE=0, after which /proc/self is not init's to open.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
pub fn open_time_offsets(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.time_offsets.is_empty() {
        let file = rustix::fs::open("/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        init.time_offsets = Some(file.doing(|| "open /proc/self/timens_offsets")?);
    }
    Ok(())
}

/// time_namespaces(7): a new time namespace applies to children and at execve(2), and its
/// offsets can be written until a process is in it.
fn write_time_offsets(init: &mut Init<'_>) -> Result<()> {
    let Some(file) = init.time_offsets.take() else { return Ok(()) };
    let line = |(clock, offset): (&String, &TimeOffset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
    let text: String = init.plan.time_offsets.iter().map(line).collect();
    write_all(&file, text.as_bytes()).doing(|| format!("write the time namespace's offsets {text:?}"))
}
