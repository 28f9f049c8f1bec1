//! Containers that are units are machines of systemd-machined (org.freedesktop.machine1(5)), so that
//! `machinectl` and `journalctl -M` find them.
//!
//! Hooks of the container register it and remove it, at each start, also one that the monitor makes.
//! Whether that succeeds is of no concern to the container.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// With the links by which `machinectl` shows the machine's network.
const REGISTER: &str = "RegisterMachineWithNetwork";
/// What machined shows as the manager of the machine.
const SERVICE: &str = "firn";
/// For the answer of machined, which the call may start.
const ANSWER_TIMEOUT: &str = "--timeout=5";
/// Of the hook, in seconds.
const HOOK_TIMEOUT: u32 = 20;
/// A hook has no environment but its own.
const HOOK_PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin";

/// The container's state as hooks get it on stdin (runtime-spec, "State").
#[derive(Debug, Deserialize)]
struct State {
    id: String,
    #[serde(default)]
    pid: u32,
    bundle: PathBuf,
}

/// The hooks of config.json that call `firnctl` at this path.
pub fn hooks(firnctl: &Path) -> Value {
    let hook = |verb: &str| {
        json!([{
            "path": firnctl,
            "args": ["firnctl", "unit", verb],
            "env": [HOOK_PATH],
            "timeout": HOOK_TIMEOUT,
        }])
    };
    json!({"poststart": hook("register"), "poststop": hook("unregister")})
}

/// The hook after the start.
pub fn register() {
    let tried = state().and_then(|state| {
        let registered = call_register(&state);
        registered.with_context(|| format!("container {}: register with systemd-machined", state.id))
    });
    log(tried);
}

/// The hook after the end.
pub fn unregister() {
    // machined may have seen the end already.
    let tried = state().map(|state| drop(remove_own(&state.id)));
    log(tried);
}

fn state() -> Result<State> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read the container's state")?;
    serde_json::from_str(&text).context("read the container's state")
}

fn call_register(state: &State) -> Result<()> {
    let config = read_json(&state.bundle.join("config.json"))?;
    let uuid = uuid(&config);
    let mut args = vec!["sayssusai".to_owned(), state.id.clone(), uuid.len().to_string()];
    args.extend(uuid.iter().map(u8::to_string));
    // The root is in the container's mount namespace alone: no path of the host's.
    args.extend([SERVICE.into(), "container".into(), state.pid.to_string(), String::new()]);
    let links = links(&config)?;
    args.push(links.len().to_string());
    args.extend(links);
    match manager_call(REGISTER, &args) {
        Ok(()) => Ok(()),
        // Of the run before, whose end machined has not seen.
        Err(error) => match remove_own(&state.id) {
            Ok(()) => manager_call(REGISTER, &args),
            Err(_) => Err(error),
        },
    }
}

/// Removes the machine of this name, if it is one of ours. Errors: it is not.
fn remove_own(id: &str) -> Result<()> {
    // It has no limit of its own for an answer, and the hook has one.
    let show = ["5", "machinectl", "show", "--property=Service", "--value", "--", id];
    let output = Command::new("timeout").args(show).stdin(Stdio::null()).output().context("run machinectl")?;
    if String::from_utf8_lossy(&output.stdout).trim() != SERVICE {
        bail!("machine {id}: is none of firn's");
    }
    manager_call("UnregisterMachine", &["s".into(), id.into()])
}

fn manager_call(method: &str, args: &[String]) -> Result<()> {
    let object = ["org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"];
    let mut busctl = Command::new("busctl");
    busctl.args(["--system", "--quiet", ANSWER_TIMEOUT, "call"]).args(object).arg(method).arg("--").args(args);
    let output = busctl.stdin(Stdio::null()).output().context("run busctl")?;
    if !output.status.success() {
        bail!("{method}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn read_json(path: &Path) -> Result<Value> {
    let read = || anyhow::Ok(serde_json::from_slice(&std::fs::read(path)?)?);
    read().with_context(|| format!("read {}", path.display()))
}

/// The 16 bytes of what the container has as its machine id; none where it has no UUID.
fn uuid(config: &Value) -> Vec<u8> {
    let variables = config["process"]["env"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let uuid = variables.filter_map(|variable| variable.strip_prefix("container_uuid=")).next_back();
    uuid.and_then(bytes).unwrap_or_default()
}

/// The indexes of the host's ends of the container's links: of what the hook before this one was told to make.
fn links(config: &Value) -> Result<Vec<String>> {
    let hooks = config["hooks"].as_object().into_iter().flatten().flat_map(|(_, hooks)| hooks.as_array());
    let mut words = hooks.flatten().map(|hook| &hook["args"]);
    let Some(told) = words.find(|words| words[0] == "firn-network").and_then(|words| words[2].as_str()) else {
        return Ok(Vec::new());
    };
    let told = read_json(Path::new(told))?;
    let names = told["veths"].as_array().into_iter().flatten().filter_map(|veth| veth["host"]["name"].as_str());
    // One that has been deleted since is not told.
    let index = |name| std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex")).ok();
    Ok(names.filter_map(index).map(|index| index.trim().to_owned()).collect())
}

fn bytes(uuid: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').collect();
    let pairs = digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>().filter(|bytes| bytes.len() == 16 && digits.len() == 32)
}

/// A line in the journal: nobody reads what a hook prints.
fn log(tried: Result<()>) {
    let Err(error) = tried else { return };
    let text = format!("warning: {error:#}");
    let text = firn::log::printable(&text);
    eprintln!("firnctl: {text}");
    let message = format!("PRIORITY=4\nSYSLOG_IDENTIFIER=firnctl\nMESSAGE={text}\n");
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(message.as_bytes(), "/run/systemd/journal/socket")
    });
    drop(sent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_those_that_there_are() {
        let told = std::env::temp_dir().join(format!("firn-told-{}", std::process::id()));
        let veth = |name: &str| json!({"host": {"name": name}});
        std::fs::write(&told, json!({"veths": [veth("lo"), veth("no-such-link")]}).to_string()).unwrap();
        let hook = json!({"path": "/bin/x", "args": ["firn-network", "up", told]});
        let found = links(&json!({"hooks": {"createRuntime": [{"path": "/bin/y"}, hook], "poststop": []}}));
        std::fs::remove_file(told).unwrap();
        assert_eq!(found.unwrap(), ["1"]);
        assert_eq!(links(&json!({})).unwrap(), [""; 0]);
    }

    #[test]
    fn a_uuid_has_16_bytes() {
        let expected: Vec<u8> = (0..16).map(|number| number * 17).collect();
        assert_eq!(bytes("00112233-4455-6677-8899-aabbccddeeff"), Some(expected));
        for wrong in ["", "00112233", "x0112233-4455-6677-8899-aabbccddeeff"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
