//! firewalld, over D-Bus (firewalld.dbus(5)). It lets through what is forwarded by rules of ours for ports, and
//! what comes from a zone whose target is ACCEPT: `trusted`, to which podman and Docker bring their containers too.
//! busctl is called, and not firewall-cmd, which takes some twenty times as long.

use crate::record;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

const ZONE: &str = "trusted";
const PID: &str = "/run/firewalld.pid";

/// What is about to be asked for, or no longer.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    address: IpAddr,
    is_there: bool,
}

/// Has the zone these sources of a container's, and no others of it. Until firewalld is told to reload: what it
/// runs with is not what it keeps.
pub fn set(message: &Path, wanted: &BTreeSet<IpAddr>) -> Result<()> {
    let path = file(message);
    let present = sources(&path)?;
    // One that has ended has forgotten them.
    if !runs() || wanted.is_empty() && present.is_empty() {
        return record::remove(&path);
    }
    let mut steps = record::append(&path)?;
    for address in present.difference(wanted) {
        // Whoever has taken it away has done it for us.
        call("removeSource", *address, &["UNKNOWN_SOURCE", "NOT_ENABLED"])?;
        record::write(&mut steps, &Step { address: *address, is_there: false })?;
    }
    for address in wanted.difference(&present) {
        record::write(&mut steps, &Step { address: *address, is_there: true })?;
        if !call("addSource", *address, &["ALREADY_", "ZONE_CONFLICT"])? {
            // It is another program's.
            record::write(&mut steps, &Step { address: *address, is_there: false })?;
        }
    }
    if wanted.is_empty() { record::remove(&path) } else { Ok(()) }
}

fn sources(path: &Path) -> Result<BTreeSet<IpAddr>> {
    let mut sources = BTreeSet::new();
    for Step { address, is_there } in record::lines::<Step>(path)? {
        if is_there {
            sources.insert(address)
        } else {
            sources.remove(&address)
        };
    }
    Ok(sources)
}

fn file(message: &Path) -> PathBuf {
    message.with_extension("firewalld")
}

fn runs() -> bool {
    let pid = std::fs::read_to_string(PID).unwrap_or_default();
    !pid.trim().is_empty() && Path::new("/proc").join(pid.trim()).exists()
}

/// Whether it was done; not where firewalld answers with one of the errors `known`.
fn call(method: &str, address: IpAddr, known: &[&str]) -> Result<bool> {
    let service = "org.fedoraproject.FirewallD1";
    let mut busctl = Command::new("busctl");
    busctl.args(["--system", "--timeout=20", "call", service, "/org/fedoraproject/FirewallD1"]);
    busctl.arg(format!("{service}.zone")).args([method, "ss", ZONE, &address.to_string()]);
    let output = busctl.output().context("run busctl (of systemd), to speak with firewalld")?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(true),
        false if known.iter().any(|error| said.contains(error)) => Ok(false),
        false => bail!("firewalld, {method} {ZONE} {address}: {}", said.trim()),
    }
}
