//! uid_map and gid_map of a new user namespace, written from the parent namespace.

use crate::bail;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::plan::namespaces::IdMaps;
use crate::spec::linux::IdMapping;
use rustix::process::Pid;
use std::process::{Command, Stdio};

/// linux/capability.h
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;

/// Writes the maps of process `pid`: directly, or by newuidmap(1) and newgidmap(1) where an
/// unprivileged caller maps more than its own id. Errors: EPERM for an id that may not be
/// mapped; what the helper prints.
pub fn write(maps: &IdMaps, pid: Pid, host: &Host) -> Result<()> {
    let pid = pid.as_raw_nonzero().get();
    let own_uid = rustix::process::geteuid().as_raw();
    let own_gid = rustix::process::getegid().as_raw();
    if host.capabilities & SETUID != 0 || is_own_id_only(&maps.uids, own_uid) {
        write_file(pid, "uid_map", &IdMaps::text(&maps.uids))?;
    } else {
        run_helper("newuidmap", pid, &maps.uids)?;
    }
    if host.capabilities & SETGID != 0 {
        return write_file(pid, "gid_map", &IdMaps::text(&maps.gids));
    }
    if is_own_id_only(&maps.gids, own_gid) {
        // Required before an unprivileged gid_map (CVE-2014-8989: dropping a group could
        // grant access that the group's permissions deny).
        write_file(pid, "setgroups", "deny")?;
        return write_file(pid, "gid_map", &IdMaps::text(&maps.gids));
    }
    run_helper("newgidmap", pid, &maps.gids)
}

/// Whether the map is the one that an unprivileged process may write itself: its own id
/// alone (user_namespaces(7)).
fn is_own_id_only(maps: &[IdMapping], id: u32) -> bool {
    matches!(maps, [map] if map.host_id == id && map.size == 1)
}

fn write_file(pid: i32, file: &str, text: &str) -> Result<()> {
    // A map is written by a single write(2): user_namespaces(7).
    std::fs::write(format!("/proc/{pid}/{file}"), text).doing(|| format!("write the {file} {:?}", text.trim_end()))
}

/// newuidmap(1), newgidmap(1): setuid helpers that enforce /etc/subuid and /etc/subgid.
fn run_helper(program: &str, pid: i32, maps: &[IdMapping]) -> Result<()> {
    let ids = maps.iter().flat_map(|map| [map.container_id, map.host_id, map.size]);
    let mut helper = Command::new(program);
    helper.arg(pid.to_string()).args(ids.map(|id| id.to_string())).stdin(Stdio::null());
    let output = helper
        .output()
        .doing(|| format!("run {program}, which maps the ids of an unprivileged user (Debian's package uidmap)"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
