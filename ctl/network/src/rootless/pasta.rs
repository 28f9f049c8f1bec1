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
        bail!("pasta: {}", if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() });
    }
    Ok(())
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
