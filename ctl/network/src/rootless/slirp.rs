//! slirp4netns(1).

use anyhow::{Context, Result, bail};
use firn_network::message::{MAIN, USER_ADDRESS, UserNetwork, UserPort};
use rustix::pipe::pipe;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Command, Stdio};

/// Where it is told of ports, in the container's directory.
const SOCKET: &str = "slirp4netns.socket";

/// Starts it, and has it open the ports. What it says later is to be read, or it would wait.
pub fn start(network: &UserNetwork, namespace: &str) -> Result<Option<ChildStderr>> {
    let what = || format!("run {}", network.program.display());
    // Inherited by it.
    let (ready, theirs) = pipe().context("make a pipe")?;
    let _ = std::fs::remove_file(SOCKET);
    let mut slirp = Command::new(&network.program);
    slirp.args(["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]);
    slirp.arg(format!("--ready-fd={}", theirs.as_raw_fd())).args(["--api-socket", SOCKET]);
    slirp.args(["--netns-type=path", namespace, MAIN]);
    let mut child =
        slirp.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().with_context(what)?;
    drop(theirs);
    let mut byte = [0];
    if File::from(ready).read(&mut byte).context("wait for slirp4netns")? == 0 {
        return Err(failure(&mut child));
    }
    network.ports.iter().try_for_each(open)?;
    Ok(child.stderr)
}

fn failure(child: &mut Child) -> anyhow::Error {
    let _ = child.kill();
    let mut said = String::new();
    let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
    let _ = child.wait();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    anyhow::anyhow!("slirp4netns: {}", lines.join("; "))
}

fn open(port: &UserPort) -> Result<()> {
    let what = || format!("slirp4netns: open port {}/{}", port.host_port, port.protocol);
    let address = port.host_address.map_or("0.0.0.0".into(), |address| address.to_string());
    let request = json!({"execute": "add_hostfwd", "arguments": {
        "proto": port.protocol, "host_addr": address, "host_port": port.host_port,
        "guest_addr": USER_ADDRESS.to_string(), "guest_port": port.port,
    }});
    let mut socket = UnixStream::connect(SOCKET).with_context(what)?;
    socket.write_all(request.to_string().as_bytes()).with_context(what)?;
    socket.shutdown(Shutdown::Write).with_context(what)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).with_context(what)?;
    let answer: Value = serde_json::from_str(&answer).with_context(what)?;
    match answer["error"]["desc"].as_str() {
        Some(error) => bail!("{}: {error}", what()),
        None => Ok(()),
    }
}
