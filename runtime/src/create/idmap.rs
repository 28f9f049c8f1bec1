//! The mappings of a new user namespace, written from outside.

use crate::error::{Context, Result};
use crate::host::Host;
use crate::plan::namespaces::IdMaps;
use rustix::process::Pid;

pub fn write(maps: &IdMaps, pid: Pid, host: &Host) -> Result<()> {
    let pid = pid.as_raw_nonzero();
    let write = |file: &str, text: &str| {
        // One write for the whole map: user_namespaces(7).
        std::fs::write(format!("/proc/{pid}/{file}"), text).doing(|| format!("write the {file} {:?}", text.trim_end()))
    };
    if host.euid != 0 {
        // Without privilege a group map needs this first (CVE-2014-8989).
        write("setgroups", "deny")?;
    }
    write("uid_map", &IdMaps::text(&maps.uids))?;
    write("gid_map", &IdMaps::text(&maps.gids))
}
