//! Settings of the kernel in /proc/sys: forwarding, and what links of containers may teach the host.
//!
//! Those of a link can only be written when it is there, which is after the process is locked down: a child
//! from before does it, `firn-network settings`.

use anyhow::{Context, Result, bail};
use firn_network::message::Network;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// The child.
#[derive(Debug)]
pub struct Settings(Child);

impl Settings {
    pub fn start() -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("settings").stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Settings(command.spawn().context("run firn-network settings")?))
    }

    /// Keeps the host from learning addresses and routes over this link, by router advertisements that a
    /// container sends (CVE-2020-13401), or redirects.
    pub fn take_no_routes(&mut self, link: &str) -> Result<()> {
        let what = || format!("change settings of {link}");
        let (Some(stdin), Some(stdout)) = (&mut self.0.stdin, &mut self.0.stdout) else { bail!("{}", what()) };
        stdin.write_all(format!("{link}\n").as_bytes()).with_context(what)?;
        stdout.read_exact(&mut [0]).with_context(what)
    }
}

/// The child: a name of a link a line, and a byte when it is done.
pub fn serve() -> Result<()> {
    for link in std::io::stdin().lock().lines() {
        let link = link.context("read from stdin")?;
        for setting in ["accept_ra", "accept_redirects"] {
            let path = Path::new(IPV6).join(&link).join(setting);
            match std::fs::write(&path, "0") {
                // The host has no IPv6.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.with_context(|| format!("write 0 to {}", path.display()))?,
            }
        }
        let mut stdout = std::io::stdout();
        stdout.write_all(b".").and_then(|()| stdout.flush()).context("write to stdout")?;
    }
    Ok(())
}

/// Packets from other machines get on to a container that has forwarded ports, and back. It stays on: others
/// may have come to need it.
pub fn forward(network: &Network) -> Result<()> {
    let addresses = || network.ports.iter().map(|port| port.address).chain(network.masquerade.iter().copied());
    let (v4, v6) = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding");
    if addresses().any(|address| address.is_ipv4()) && is_off(v4) {
        turn_on(v4)?;
    }
    if addresses().any(|address| address.is_ipv6()) && is_off(v6) {
        keep_router_advertisements()?;
        turn_on(v6)?;
    }
    Ok(())
}

fn is_off(path: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "0")
}

fn turn_on(path: &str) -> Result<()> {
    std::fs::write(path, "1").with_context(|| format!("write 1 to {path}"))
}

/// A host that comes to forward IPv6 loses the routes that it has from routers, unless its interfaces take
/// them all the same (ip-sysctl, accept_ra = 2).
fn keep_router_advertisements() -> Result<()> {
    for entry in std::fs::read_dir(IPV6).with_context(|| format!("read {IPV6}"))?.flatten() {
        let path = entry.path().join("accept_ra");
        if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            std::fs::write(&path, "2").with_context(|| format!("write 2 to {}", path.display()))?;
        }
    }
    Ok(())
}
