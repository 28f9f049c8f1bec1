//! pasta(1).

use anyhow::{Context, Result, bail};
use firn_network::message::{MAIN, USER_ADDRESS, USER_GATEWAY, USER_RESOLVER, UserNetwork, UserPort};
use std::process::{Command, Stdio};

/// Starts it: it goes into the background when the network is there, and its ports are open.
pub fn start(network: &UserNetwork, namespace: &str) -> Result<()> {
    let mut pasta = Command::new(&network.program);
    pasta.args(arguments(&network.ports, namespace)).stdin(Stdio::null());
    let output = pasta.output().with_context(|| format!("run {}", network.program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = reason(&said);
        bail!("pasta: {}", if reason.is_empty() { output.status.to_string() } else { reason });
    }
    Ok(())
}

/// What it says of why it has failed, in one line. What it goes on without is none of that.
fn reason(said: &str) -> String {
    let is_warning = |line: &str| {
        ["Failed to send ", "No external routable interface for IPv6", "Couldn't get any nameserver address"]
            .iter()
            .any(|warning| line.starts_with(warning))
    };
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !is_warning(line));
    lines.collect::<Vec<_>>().join("; ")
}

fn arguments(ports: &[UserPort], namespace: &str) -> Vec<String> {
    let mut arguments: Vec<String> = ["--quiet", "--config-net", "--ns-ifname", MAIN].map(String::from).into();
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("--address", USER_ADDRESS.to_string());
    option("--netmask", "24".into());
    option("--gateway", USER_GATEWAY.to_string());
    option("--dns-forward", USER_RESOLVER.to_string());
    for (protocol, name) in [("tcp", "--tcp-ports"), ("udp", "--udp-ports")] {
        let own: Vec<&UserPort> = ports.iter().filter(|port| port.protocol == protocol).collect();
        match own.as_slice() {
            [] => option(name, "none".into()),
            own => own.iter().for_each(|port| option(name, spec(port))),
        }
    }
    // By default what listens on the host's loopback addresses is reached from inside, by the gateway's address and by
    // the container's own loopback.
    option("--tcp-ns", "none".into());
    option("--udp-ns", "none".into());
    arguments.push("--no-map-gw".into());
    // We are in the user namespace; the program's end is ours to see to.
    arguments.extend(["--netns-only", "--no-netns-quit", "--netns", namespace].map(String::from));
    arguments
}

/// `[ADDRESS/]PORT:PORT`.
fn spec(port: &UserPort) -> String {
    let address = port.host_address.map(|address| format!("{address}/")).unwrap_or_default();
    format!("{address}{}:{}", port.host_port, port.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_has_failed_is_one_line() {
        let said = "Failed to send 46 bytes to syslog\nNo external routable interface for IPv6\nno tun\nor so\n";
        assert_eq!(reason(said), "no tun; or so");
    }

    #[test]
    fn ports_are_those_of_the_definition_alone() {
        let port = |protocol: &str, address: Option<&str>, host_port, port| UserPort {
            protocol: protocol.into(),
            host_address: address.map(|address| address.parse().unwrap()),
            host_port,
            port,
        };
        let options = |ports: &[UserPort]| arguments(ports, "/n").join(" ");
        assert!(options(&[]).contains("--tcp-ports none --udp-ports none --tcp-ns none --udp-ns none --no-map-gw"));
        let ports =
            [port("tcp", None, 8080, 80), port("tcp", Some("127.0.0.1"), 81, 81), port("udp", Some("::1"), 53, 5)];
        assert!(options(&ports).contains("--tcp-ports 8080:80 --tcp-ports 127.0.0.1/81:81 --udp-ports ::1/53:5 "));
    }
}
