//! What is left of networks when processes of ours are killed at any moment. `FIRN_TEST_NETWORK_ROUNDS` is how often, ten times
//! where it is not set.

use crate::machine::{ANSWER, Machine};
use firn_conformance::harness::{command, wait_until};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn nothing_is_left_of_networks_whoever_is_killed() {
    let machine = Machine::new("net-left");
    machine.host.init("root", ANSWER);
    machine.ip(&["link", "add", "nic0", "type", "veth", "peer", "name", "nic1"]);
    machine.ip(&["link", "add", "br0", "type", "bridge"]);
    machine.host.scratch.write("hosts", "192.0.2.1 here\n");
    machine.host.project(json!({
        "a": {
            "extra": {"addressPrefix": "10.1.0", "enableWAN": true, "exposeLocalhost": true, "firewallAllowHost": true},
            "hostAddress6": "fc00:1::1", "localAddress6": "fc00:1::2", "interfaces": ["nic0"], "restart": "no",
            "forwardPorts": [{"hostPort": 8080, "containerPort": 80}, {"hostPort": 53, "protocol": "udp"}],
            "extraVeths": {"x1": {"hostAddress": "10.1.9.1", "localAddress": "10.1.9.2"}},
        },
        "b": {"privateNetwork": true, "hostBridge": "br0", "localAddress": "10.1.5.2/24", "macvlans": ["wire0"], "restart": "no"},
    }));
    // Sockets and locks of a machine that has had containers.
    machine.host.up();
    machine.host.call(&["destroy", "--all"]).succeeds();
    wait_until("the resident process has ended", || machine.resident().is_none());
    let before = left(&machine);
    let rounds = std::env::var("FIRN_TEST_NETWORK_ROUNDS").map_or(10, |text| text.parse().unwrap());
    for round in 0..rounds {
        let how = ["stopped", "init", "monitor", "everyone", "start"][round % 5];
        if how == "start" {
            let mut up = machine.host.spawn(&["up", "--detach", "firn.json"]);
            // At another moment each time.
            std::thread::sleep(Duration::from_millis((round * 13 % 400) as u64));
            kill_all(&machine);
            up.wait().unwrap();
        } else {
            machine.host.up();
            kill(&machine, how);
        }
        // Sometimes by another start.
        if round % 2 == 1 {
            machine.host.up();
        }
        machine.host.call(&["destroy", "--all"]).succeeds();
        let is_same = || left(&machine) == before;
        for _ in 0..100 {
            if is_same() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(left(&machine), before, "round {round}: {how}");
    }
    for link in ["nic0", "br0"] {
        machine.ip(&["link", "delete", link]);
    }
    machine.host.scratch.write("hosts", "");
    machine.leaves_nothing();
}

fn kill(machine: &Machine, how: &str) {
    let pids = ["a", "b"].map(|name| {
        let text = machine.host.call(&["status", "--json", &machine.host.name(name)]).succeeds().stdout;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["pid"].to_string()
    });
    let kill = |pid: &str| drop(command(Command::new("kill").args(["-9", pid])));
    match how {
        "init" => pids.iter().for_each(|pid| kill(pid)),
        "monitor" => machine.host.kill("a"),
        "everyone" => {
            kill_all(machine);
            pids.iter().for_each(|pid| kill(pid));
        }
        _ => drop(machine.host.call(&["stop", "--all"]).succeeds()),
    }
}

/// All programs of firn's.
fn kill_all(machine: &Machine) {
    command(Command::new("pkill").args(["-9", "-f", &format!("firn.*{}", machine.host.scratch.id())]));
    if let Some(resident) = machine.resident() {
        command(Command::new("kill").args(["-9", &resident.to_string()]));
    }
}

/// Links, addresses, routes, rules, names, namespaces that are kept, processes and files.
fn left(machine: &Machine) -> Vec<String> {
    let id = machine.host.scratch.id();
    let mut left: Vec<String> = [&["-brief", "link"][..], &["-brief", "address"], &["route"], &["-6", "route"]]
        .into_iter()
        .map(|words| machine.ip(words))
        .collect();
    left.push(machine.rules());
    left.push(std::fs::read_to_string(machine.host.scratch.join("hosts")).unwrap());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&id) && !line.contains(" /run/netns/")).map(str::to_owned));
    let processes = command(Command::new("pgrep").args(["-a", "-f", &format!("firn.*{id}")])).stdout;
    left.extend(processes.lines().filter(|line| !line.contains("firn-shim keep")).map(str::to_owned));
    for directory in ["run", "state"] {
        files(&machine.host.scratch.join(directory), &mut left);
    }
    // The keeper ends when it holds nothing.
    left.retain(|path| !path.contains("@keeper"));
    left
}

fn files(directory: &Path, all: &mut Vec<String>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        all.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            files(&path, all);
        }
    }
}
