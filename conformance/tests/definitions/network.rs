//! Networks of containers, on a machine of the test's own.

use crate::machine::{ANSWER, Machine, within};
use firn_conformance::harness::{command, wait_until};
use serde_json::json;
use std::net::TcpListener;
use std::process::Command;

#[test]
fn the_network_is_there_before_init() {
    let machine = Machine::new("net-early");
    // Its first acts are calls of the host, by either family.
    machine.host.init(
        "root",
        "#!/bin/sh\ntrap 'exit 0' 37\nnc -w 5 10.9.0.1 7000 </dev/null && nc -w 5 fc00:9::1 7000 </dev/null && echo called\n\
         ip -o address; ip route; while :; do sleep 60 & wait $!; done\n",
    );
    let listener = within(&machine.name, || TcpListener::bind("[::]:7000").unwrap());
    let answers = std::thread::spawn(move || {
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
    });
    machine.host.project(json!({"a": {
        "hostAddress": "10.9.0.1", "localAddress": "10.9.0.2/24", "privateNetwork": true,
        "hostAddress6": "fc00:9::1", "localAddress6": "fc00:9::2",
    }}));
    machine.host.up();
    answers.join().unwrap();
    wait_until("init has said all", || machine.host.log("a").contains("default via"));
    let log = machine.host.log("a");
    assert!(log.contains("called\n") && log.contains("inet 10.9.0.2/24") && log.contains("fc00:9::2/128"), "{log}");
    // The prefix is the container's affair: on the host the route is to it alone.
    let route = machine.ip(&["route", "show", "10.9.0.2"]);
    assert!(route.contains(&format!("dev {}", machine.links()[2])), "{route}");
    // Names on the host.
    let hosts = std::fs::read_to_string(machine.host.scratch.join("hosts")).unwrap();
    let name = machine.host.name("a");
    assert!(hosts.contains(&format!("10.9.0.2 {name}.containers\nfc00:9::2 {name}.containers\n")), "{hosts}");
    assert_eq!(machine.host.call(&["show-ip", &name]).succeeds().stdout, "10.9.0.2\n");
    // A restart makes it anew.
    machine.host.call(&["restart", &machine.host.name("a")]).succeeds();
    assert_eq!(machine.links().len(), 3);
    machine.leaves_nothing();
}

#[test]
fn ports_answer_from_everywhere_and_change_live() {
    let machine = Machine::new("net-ports");
    machine.host.init("root", ANSWER);
    let name = machine.host.name("a");
    let definition = |ports: serde_json::Value| {
        json!({"a": {
            "hostname": "a", "extra": {"addressPrefix": "10.8.0"}, "hostAddress6": "fc00:8::1", "localAddress6": "fc00:8::2",
            "forwardPorts": ports,
        }})
    };
    machine.host.project(definition(json!([
        {"hostPort": 8080, "containerPort": 80}, {"hostPort": 8081, "containerPort": 80},
        {"hostPort": 9090, "containerPort": 80, "hostAddress": "192.0.2.1"},
    ])));
    machine.host.up();
    let told = |from: &str, to: &str| machine.call(from, to);
    let answer = Some("I am a".to_owned());
    // A foreign init is ready before its programs are.
    wait_until("it answers", || told(&machine.name, "10.8.0.2:80") == answer);
    for to in ["192.0.2.1:8080", "192.0.2.1:9090", "[2001:db8::1]:8081"] {
        assert_eq!(told(&machine.client, to), answer, "from another machine to {to}");
        assert_eq!(told(&machine.name, to), answer, "from the host to {to}");
    }
    assert_eq!(told(&machine.name, "127.0.0.1:8080"), answer);
    assert_eq!(told(&machine.name, "127.0.0.1:9090"), None, "it is on one address");
    let own = machine.host.exec("a", &["sh", "-c", "nc -w 2 10.8.0.1 8080 </dev/null"]);
    assert_eq!(own, "I am a\n", "its own port of the host");
    // What arrives with an address of the loopback is dropped.
    assert!(machine.rules().contains("ip daddr 127.0.0.0/8 drop"));

    let setting = |name: &str| {
        let link = machine.links().into_iter().find(|link| link.starts_with("ve-")).unwrap();
        let path = format!("/proc/sys/net/{}", name.replace("LINK", &link));
        within(&machine.name, || std::fs::read_to_string(path).unwrap().trim().to_owned())
    };
    assert_eq!(setting("ipv4/conf/LINK/route_localnet"), "1");
    // No router advertisement of a container's makes the host's routes.
    assert_eq!(setting("ipv6/conf/LINK/accept_ra"), "0");

    // One that fails takes nothing of another's away: both have this address.
    machine.host.scratch.write(
        "same.json",
        &json!({"containers": {machine.host.name("b"): {
            "rootFS": ["./root"], "extra": {"addressPrefix": "10.8.0"}, "forwardPorts": [{"hostPort": 8083}],
        }}})
        .to_string(),
    );
    let error = machine.host.call(&["up", "--detach", "same.json"]).fails(1).stderr;
    assert!(error.contains("there is one already"), "{error}");
    machine.host.call(&["destroy", &machine.host.name("b")]).succeeds();
    assert_eq!(machine.host.exec("a", &["sh", "-c", "nc -w 2 10.8.0.1 8080 </dev/null"]), "I am a\n");

    // Another port, while it runs.
    machine.host.project(definition(json!([
        {"hostPort": 8080, "containerPort": 80}, {"hostPort": 8082, "containerPort": 80},
    ])));
    assert_eq!(machine.host.plan(), "a: live: forwardPorts\n");
    machine.host.up();
    assert_eq!(told(&machine.client, "192.0.2.1:8082"), answer);
    assert_eq!(told(&machine.client, "192.0.2.1:8080"), answer);
    assert_eq!(told(&machine.client, "192.0.2.1:9090"), None);
    assert_eq!(machine.host.plan(), "a: unchanged\n");
    // By a verb.
    machine.host.call(&["port", &name, "add", "8085:80"]).succeeds();
    machine.host.call(&["port", &name, "rm", "8080"]).succeeds();
    assert_eq!(machine.host.call(&["port", &name]).succeeds().stdout, "*:8082 -> 80/tcp\n*:8085 -> 80/tcp\n");
    assert_eq!(
        (told(&machine.client, "192.0.2.1:8085"), told(&machine.client, "192.0.2.1:8080")),
        (answer.clone(), None)
    );
    machine.host.call(&["reset", &name]).succeeds();
    assert_eq!(machine.host.plan(), "a: unchanged\n");
    // None, and then again.
    for ports in [json!([]), json!([{"hostPort": 8082, "containerPort": 80}])] {
        machine.host.project(definition(ports.clone()));
        machine.host.up();
        assert_eq!(setting("ipv4/conf/LINK/route_localnet"), if ports == json!([]) { "0" } else { "1" });
    }
    machine.host.ask_for_restart("a");
    wait_until("it is there again", || told(&machine.client, "192.0.2.1:8082") == answer);
    machine.host.call(&["stop", &name]).succeeds();
    assert_eq!(told(&machine.client, "192.0.2.1:8082"), None);
    assert_eq!(machine.rules(), "");

    // Who has the port is told before a start.
    machine.host.call(&["start", &name]).succeeds();
    let listener = within(&machine.name, || TcpListener::bind("0.0.0.0:7000").unwrap());
    for (port, owner) in
        [(8082, format!("8082/tcp is taken by container {name}")), (7000, "7000/tcp is taken by definitions".into())]
    {
        machine.host.project(json!({"b": {
            "extra": {"addressPrefix": "10.8.1"}, "forwardPorts": [{"hostPort": port}],
        }}));
        let error = machine.host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
        assert!(error.contains(&owner), "{error}");
    }
    drop(listener);
    machine.leaves_nothing();
}

#[test]
fn bridges_and_further_links_connect_containers() {
    let machine = Machine::new("net-bridge");
    machine.ip(&["link", "add", "br0", "type", "bridge"]);
    machine.ip(&["address", "add", "10.7.0.1/24", "dev", "br0"]);
    machine.ip(&["link", "set", "br0", "up"]);
    let bridged = |address: &str, on_host: &str, extra: &str| {
        json!({
            "privateNetwork": true, "hostBridge": "br0", "hostAddress": "10.7.0.1", "localAddress": address,
            "extraVeths": {"x1": {"hostInterface": on_host, "hostAddress": "10.7.9.1", "localAddress": extra}},
        })
    };
    machine.host.project(json!({
        "a": bridged("10.7.0.2/24", "xa", "10.7.9.2"), "b": bridged("10.7.0.3/24", "xb", "10.7.9.3"), "c": {"privateNetwork": true, "hostBridge": "br0"},
    }));
    machine.host.up();
    machine.host.exec("a", &["ping", "-c", "1", "-W", "2", "10.7.0.3"]);
    machine.host.exec("b", &["ping", "-c", "1", "-W", "2", "10.7.0.1"]);
    machine.host.exec("a", &["ping", "-c", "1", "-W", "2", "10.7.9.1"]);
    // Two of one address, which nothing in their definitions shows.
    machine.host.scratch.write(
        "two.json",
        &json!({"containers": {machine.host.name("d"): {
            "rootFS": ["./root"], "privateNetwork": true, "hostAddress": "10.7.9.1", "localAddress": "10.7.9.2",
        }}})
        .to_string(),
    );
    let error = machine.host.call(&["up", "--detach", "two.json"]).fails(1).stderr;
    assert!(error.contains("route to 10.7.9.2: there is one already, of another container"), "{error}");
    let routes = machine.host.exec("a", &["ip", "route"]);
    assert!(routes.contains("default via 10.7.0.1 dev eth0"), "{routes}");
    assert!(routes.contains("10.7.9.1 dev x1") && !routes.contains("default via 10.7.9.1"), "{routes}");
    // Without an address: for a DHCP client inside, under the name that systemd's configuration has.
    machine.host.exec("c", &["ls", "/sys/class/net/eth0"]);
    let links = machine.ip(&["link", "show", "master", "br0"]);
    assert_eq!(links.matches("link-netnsid").count(), 3, "{links}");
    machine.host.call(&["destroy", "--all"]).succeeds();
    assert_eq!(machine.links(), ["lo", "wire0", "br0"]);
    machine.ip(&["link", "delete", "br0"]);
    machine.leaves_nothing();
}

#[test]
fn macvlans_are_on_the_wire() {
    let machine = Machine::new("net-macvlan");
    machine.host.project(json!({"a": {"macvlans": ["wire0"]}, "b": {"macvlans": ["wire0"]}}));
    machine.host.up();
    for (name, address) in [("a", "192.0.2.11/24"), ("b", "192.0.2.12/24")] {
        machine.host.exec(name, &["ip", "address", "add", address, "dev", "mv-wire0"]);
    }
    machine.host.exec("a", &["ping", "-c", "1", "-W", "2", "192.0.2.12"]);
    machine.host.exec("a", &["ping", "-c", "1", "-W", "2", "192.0.2.9"]);
    let mac = |name: &str| machine.host.exec(name, &["cat", "/sys/class/net/mv-wire0/address"]);
    let before = mac("a");
    assert_ne!(before, mac("b"));
    machine.host.call(&["restart", &machine.host.name("a")]).succeeds();
    assert_eq!(mac("a"), before, "it is made of the machine and the name");
    machine.leaves_nothing();
}

#[test]
fn interfaces_come_back_under_their_names_whatever_happens() {
    let machine = Machine::new("net-moved");
    machine.ip(&["link", "add", "nic0", "type", "veth", "peer", "name", "nic1"]);
    machine.host.init("root", ANSWER);
    let name = machine.host.name("a");
    machine.host.project(json!({"a": {"interfaces": ["nic0"], "restart": "no"}}));
    let is_back = || machine.links().contains(&"nic0".to_owned());
    machine.host.up();
    assert!(!is_back());
    // Named otherwise by root inside.
    machine.host.exec("a", &["ip", "link", "set", "nic0", "name", "mine"]);
    machine.host.call(&["stop", &name]).succeeds();
    assert!(is_back());
    // Monitor and init are killed: the runtime does not clean up.
    machine.host.call(&["start", &name]).succeeds();
    assert!(!is_back());
    let text = machine.host.call(&["status", "--json", &name]).succeeds().stdout;
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    machine.host.exec("a", &["ip", "link", "set", "nic0", "name", "mine"]);
    let monitors = format!("firn-shim.*{}", machine.host.scratch.id());
    let kill_monitors = || {
        command(Command::new("pkill").args(["-9", "-f", &monitors])).succeeds();
        wait_until("they are gone", || command(Command::new("pgrep").args(["-f", &monitors])).code == 1);
    };
    kill_monitors();
    let pid = status["pid"].to_string();
    command(Command::new("kill").args(["-9", &pid])).succeeds();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until("init has ended", || stat().is_empty() || stat().contains(") Z "));
    machine.host.call(&["start", &name]).succeeds();
    assert_eq!(machine.host.exec("a", &["ls", "/sys/class/net"]), "lo\nnic0\n");
    kill_monitors();
    machine.host.call(&["destroy", &name]).succeeds();
    assert!(is_back());
    // One that has moved when another can't: bridges stay.
    machine.ip(&["link", "add", "br0", "type", "bridge"]);
    machine.host.project(json!({"a": {"interfaces": ["nic0", "nic1", "br0"], "restart": "no"}}));
    let error = machine.host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("interface br0: "), "{error}");
    assert!(is_back() && machine.links().len() == 5, "{:?}", machine.links());
    machine.ip(&["link", "delete", "br0"]);
    machine.host.project(json!({"a": {"interfaces": ["nic0"], "restart": "no"}}));
    // One that root inside has deleted is no longer there to be taken back.
    machine.host.up();
    machine.host.exec("a", &["ip", "link", "delete", "nic0"]);
    machine.host.call(&["destroy", &name]).succeeds();
    assert!(!is_back());
    machine.leaves_nothing();
}

#[test]
fn long_names_have_links_of_nspawns_names_and_users_their_own_network() {
    let machine = Machine::new("net-names");
    machine.host.init("root", ANSWER);
    let long = format!("{}-with-a-long-name", machine.host.scratch.id());
    machine.host.project(json!({
        "with-a-long-name": {"privateNetwork": true, "hostAddress": "10.6.0.1", "localAddress": "10.6.0.2"},
        "with-a-long-name-2": {
            "hostname": "two", "privateUsers": "pick", "extra": {"addressPrefix": "10.6.1"},
        },
    }));
    machine.host.up();
    let shown = machine.ip(&["link", "show", &format!("ve-{long}")]);
    assert!(shown.contains(&format!("ve-{}", &long[..8])) && shown.contains(&format!("altname ve-{long}")), "{shown}");
    wait_until("it answers", || machine.call(&machine.name, "10.6.1.2:80").as_deref() == Some("I am two"));
    // Root of a user namespace owns its network.
    machine.host.exec("with-a-long-name-2", &["ip", "link", "set", "eth0", "mtu", "1400"]);
    machine.leaves_nothing();
}

#[test]
fn addresses_change_while_it_runs() {
    let machine = Machine::new("net-readdress");
    machine.host.init("root", ANSWER);
    let definition = |number: u8, six: Option<&str>| {
        let mut a = json!({
            "hostname": "a", "privateNetwork": true, "hostAddress": format!("10.10.{number}.1"),
            "localAddress": format!("10.10.{number}.2/24"), "forwardPorts": [{"hostPort": 8080, "containerPort": 80}],
            "extraVeths": {"x1": {"localAddress": format!("10.11.{number}.2"), "hostAddress": "10.11.0.1"}},
        });
        if let Some(six) = six {
            a["localAddress6"] = format!("{six}::2").into();
            a["hostAddress6"] = format!("{six}::1").into();
        }
        json!({"a": a})
    };
    machine.host.project(definition(1, None));
    machine.host.up();
    let told = |to: &str| machine.call(&machine.name, to);
    let answer = Some("I am a".to_owned());
    wait_until("it answers", || told("10.10.1.2:80") == answer);
    let inside = machine.inside("a");
    let expect = |number: u8, six: Option<&str>| {
        let mut own = vec![format!("10.10.{number}.2:80"), format!("10.11.{number}.2:80")];
        own.extend(six.map(|six| format!("[{six}::2]:80")));
        for to in own.iter().map(String::as_str).chain(["192.0.2.1:8080", "127.0.0.1:8080"]) {
            assert_eq!(told(to), answer, "{to}");
        }
        assert_eq!(machine.call(&machine.client, "192.0.2.1:8080"), answer);
        let routes = machine.host.exec("a", &["ip", "route"]);
        assert!(routes.contains(&format!("default via 10.10.{number}.1 dev eth0")), "{routes}");
        assert_eq!(routes.lines().count(), 4, "{routes}");
        assert_eq!(machine.inside("a"), inside, "it runs on");
    };
    expect(1, None);
    machine.host.project(definition(2, Some("fc00:a")));
    let both = "hostAddress, hostAddress6, localAddress, localAddress6";
    assert_eq!(machine.host.plan(), format!("a: live: extraVeths, {both}\n"));
    machine.host.up();
    expect(2, Some("fc00:a"));
    assert_eq!(machine.call(&machine.client, "[2001:db8::1]:8080"), answer);
    // Only what is new is there.
    let addresses = machine.ip(&["-o", "address"]);
    assert!(!addresses.contains("10.10.1.1") && addresses.contains("10.10.2.1/32"), "{addresses}");
    let hosts = std::fs::read_to_string(machine.host.scratch.join("hosts")).unwrap();
    assert!(hosts.contains("10.10.2.2 ") && hosts.contains("fc00:a::2 ") && !hosts.contains("10.10.1.2 "), "{hosts}");
    // What can't be is undone.
    machine.ip(&["route", "add", "10.10.9.2", "dev", "wire0"]);
    machine.host.project(definition(9, Some("fc00:b")));
    let error = machine.host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("route to 10.10.9.2: there is one already"), "{error}");
    expect(2, Some("fc00:a"));
    machine.host.project(definition(2, Some("fc00:a")));
    assert_eq!(machine.host.plan(), "a: unchanged\n");
    machine.host.up();
    // A restart makes them as they are now.
    machine.host.call(&["restart", &machine.host.name("a")]).succeeds();
    wait_until("it answers", || told("10.10.2.2:80") == answer);
    machine.leaves_nothing();
}
