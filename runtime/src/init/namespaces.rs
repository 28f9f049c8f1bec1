//! Joining namespaces of others, and making those that clone could not.

use super::Init;
use crate::error::{Context, Result};
use crate::path::write_all;
use crate::plan::namespaces::KINDS;
use crate::sys::clone;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};

pub fn join_and_make(init: &mut Init<'_>) -> Result<()> {
    for (kind, file) in &init.sources.namespaces {
        // These two were joined before the clone: they count for children only,
        // or had to own the new namespaces.
        if matches!(*kind, clone::NEWPID | clone::NEWUSER) {
            continue;
        }
        let name = KINDS.iter().find(|(_, flag)| flag == kind).map_or("", |(name, _)| name);
        clone::setns(file.as_fd(), *kind).doing(|| format!("join the {name} namespace"))?;
    }
    let late = init.plan.namespaces.new & (clone::NEWCGROUP | clone::NEWTIME);
    if late != 0 {
        clone::unshare(late).doing(|| "make the cgroup and time namespaces")?;
    }
    write_time_offsets(init)
}

/// The new time namespace is entered by execve, and takes offsets until then.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
fn write_time_offsets(init: &Init<'_>) -> Result<()> {
    if init.plan.time_offsets.is_empty() {
        return Ok(());
    }
    let text: String = init
        .plan
        .time_offsets
        .iter()
        .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        .collect();
    // Still the host's /proc: the container's root is not mounted yet.
    let file = rustix::fs::open("/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "open the time namespace's offsets")?;
    write_all(&file, text.as_bytes()).doing(|| format!("write the time namespace's offsets {text:?}"))
}
