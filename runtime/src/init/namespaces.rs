//! Joining namespaces of others, and making those that clone could not.

use super::context::Init;
use crate::error::{Context, Result};
use crate::path::write_all;
use crate::plan::namespaces::KINDS;
use crate::spec::linux::TimeOffset;
use crate::sys::clone;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub fn join_and_unshare(init: &mut Init<'_>) -> Result<()> {
    for (kind, file) in &init.sources.namespaces {
        // These two were joined before the clone: they count for children only,
        // or had to own the new namespaces.
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
        clone::unshare(late).doing(|| "make the cgroup and time namespaces")?;
    }
    write_time_offsets(init)
}

/// Whether we are in it already: joined with rights that we have no more.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
fn is_current(file: &OwnedFd, kind: u64) -> Result<bool> {
    let name = match kind {
        clone::NEWNET => "net",
        clone::NEWIPC => "ipc",
        clone::NEWUTS => "uts",
        clone::NEWCGROUP => "cgroup",
        _ => return Ok(false),
    };
    let what = || format!("look at the {name} namespace");
    let own = rustix::fs::stat(format!("/proc/self/ns/{name}")).doing(what)?;
    let other = rustix::fs::fstat(file).doing(what)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// Who we are later, and hidden, has no right to open the file.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
pub fn open_time_offsets(init: &mut Init<'_>) -> Result<()> {
    if !init.plan.time_offsets.is_empty() {
        let file = rustix::fs::open("/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        init.time_offsets = Some(file.doing(|| "open /proc/self/timens_offsets")?);
    }
    Ok(())
}

/// The new time namespace is entered by execve, and takes offsets until then.
fn write_time_offsets(init: &mut Init<'_>) -> Result<()> {
    let Some(file) = init.time_offsets.take() else { return Ok(()) };
    let line = |(clock, offset): (&String, &TimeOffset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
    let text: String = init.plan.time_offsets.iter().map(line).collect();
    write_all(&file, text.as_bytes()).doing(|| format!("write the time namespace's offsets {text:?}"))
}
