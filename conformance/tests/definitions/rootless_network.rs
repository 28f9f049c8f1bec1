//! The network of an ordinary user's containers: pasta and slirp4netns.

use crate::host::processes;
use crate::machine::{ANSWER, Machine, within};
use crate::names::upstream;
use crate::user::User;
use firn_conformance::harness::place::program;
use firn_conformance::harness::wait_until;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// A user on a machine whose default route is the client. The machine is there as long as the user.
fn on_machine(test: &str) -> (Machine, User) {
    program("pasta", "passt");
    program("slirp4netns", "slirp4netns");
    let machine = Machine::new(&format!("{test}-m"));
    machine.ip(&["route", "add", "default", "via", "192.0.2.9"]);
    let mut user = User::new(test);
    user.network = Some(machine.name.clone());
    // What is closed with something unread is reset (RFC 2525, 2.17), and the answer lost.
    user.init(&ANSWER.replace("{ echo", "{ read line; echo"));
    (machine, user)
}

fn definition(ports: &Value) -> Value {
    json!({"a": {"rootFS": ["./root"], "hostname": "a", "privateNetwork": true, "forwardPorts": ports}})
}

fn lives_in_a_network_of(helper: &str) {
    let (machine, mut user) = on_machine(&format!("rootless-{helper}"));
    user.env = vec![format!("FIRNCTL_NETWORK={helper}")];
    // As systemd-resolved listens.
    upstream(&machine.name, "127.0.0.53:53", [192, 0, 2, 77]);
    let ports = json!([
        {"hostPort": 8080, "containerPort": 80}, {"hostPort": 8081, "containerPort": 80, "hostAddress": "127.0.0.1"},
        {"hostPort": 8053, "containerPort": 53, "protocol": "udp"},
    ]);
    user.project(&definition(&ports));
    user.call(&["up", "-d", "firn.json"]).succeeds();
    let answers = || ask(&machine.client, "192.0.2.1:8080").as_deref() == Some("I am a");
    wait_until("it answers from another machine", answers);
    assert_eq!(ask(&machine.name, "127.0.0.1:8080").as_deref(), Some("I am a"));
    assert_eq!(ask(&machine.name, "127.0.0.1:8081").as_deref(), Some("I am a"));
    assert_eq!(ask(&machine.client, "192.0.2.1:8081"), None, "it is on one address");

    // Out, with names by the host's resolver.
    let inside = |script: &str| user.call(&["exec", "a", "sh", "-c", script]);
    let resolv = inside("cat /etc/resolv.conf").succeeds().stdout;
    assert_eq!(resolv, "nameserver 10.0.2.3\nsearch b.example\n");
    let found = inside("nslookup -type=a x.example | tail -n 4").stdout;
    assert!(found.contains("192.0.2.77"), "{found}");
    let server = within(&machine.client, || TcpListener::bind("192.0.2.9:7000").unwrap());
    let peer = std::thread::spawn(move || server.accept().unwrap().1.ip().to_string());
    inside("nc -w 5 192.0.2.9 7000 </dev/null").succeeds();
    assert_eq!(peer.join().unwrap(), "192.0.2.1");
    // Datagrams, in.
    assert_eq!(datagram(&user, &machine), Some(()), "it arrives, and its answer");

    // What listens on the host's loopback alone is the host's.
    let secret = within(&machine.name, || TcpListener::bind("127.0.0.1:7777").unwrap());
    secret.set_nonblocking(true).unwrap();
    for address in ["10.0.2.2", "127.0.0.1", "192.0.2.1"] {
        let called = inside(&format!("nc -w 1 {address} 7777 </dev/null"));
        assert!(called.code != 0 && secret.accept().is_err(), "{address}: {called:?}");
    }

    // A restart that the container asks for, and one of firnctl's.
    inside("kill -USR1 1");
    wait_until("it answers again", || user.call(&["exec", "a", "true"]).code == 0 && answers());
    user.call(&["restart", "a"]).succeeds();
    wait_until("it answers again", answers);
    assert_eq!(processes(&user.scratch.id()).iter().filter(|line| line.contains(&format!("{helper} "))).count(), 1);

    // Another port is a restart.
    user.project(&definition(&json!([{"hostPort": 8090, "containerPort": 80}])));
    assert_eq!(user.call(&["plan", "firn.json"]).stdout, "a: restart: forwardPorts\n");
    user.call(&["up", "-d", "firn.json"]).succeeds();
    wait_until("it answers there", || ask(&machine.client, "192.0.2.1:8090").is_some());
    assert_eq!(ask(&machine.client, "192.0.2.1:8080"), None);

    // Whatever is killed, nothing stays, and it starts again.
    user.kill_all("a");
    wait_until("nothing is left", || processes(&user.scratch.id()).is_empty());
    assert_eq!(ask(&machine.client, "192.0.2.1:8090"), None);
    // Its restart policy is a next monitor's to follow, or not.
    user.call(&["terminate", "a"]).succeeds();
    user.call(&["up", "-d", "firn.json"]).succeeds();
    wait_until("it answers again", || ask(&machine.client, "192.0.2.1:8090").is_some());
    user.call(&["stop", "a"]).succeeds();
    // At once: the port is free when `stop` returns.
    within(&machine.name, || TcpListener::bind("0.0.0.0:8090").unwrap());
    user.leaves_nothing();
}

/// What a port answers when it is called from a namespace, and told something first: Debian 12's pasta waits for that.
fn ask(from: &str, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    within(from, || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(b"hello\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    })
}

/// To the forwarded port, and back.
fn datagram(user: &User, machine: &Machine) -> Option<()> {
    let text = user.call(&["status", "--json", "a"]).succeeds().stdout;
    let pid = serde_json::from_str::<Value>(&text).unwrap()["pid"].to_string();
    let path = format!("/proc/{pid}/ns/net");
    let inside = crate::machine::within_file(path.as_ref(), || UdpSocket::bind("0.0.0.0:53").unwrap());
    inside.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let outside = within(&machine.client, || UdpSocket::bind("192.0.2.9:0").unwrap());
    outside.send_to(b"ping", "192.0.2.1:8053").unwrap();
    let mut bytes = [0; 16];
    let (length, peer) = inside.recv_from(&mut bytes).ok()?;
    inside.send_to(b"pong", peer).unwrap();
    outside.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (answer, _) = outside.recv_from(&mut bytes).ok()?;
    (length == 4 && answer == 4).then_some(())
}

#[test]
fn pasta_makes_the_network() {
    lives_in_a_network_of("pasta");
}

#[test]
fn slirp4netns_makes_the_network() {
    lives_in_a_network_of("slirp4netns");
}

#[test]
fn ports_that_can_not_be_had_are_told_before_the_start() {
    let (machine, mut user) = on_machine("rootless-ports");
    user.project(&definition(&json!([{"hostPort": 80}, {"hostPort": 443}, {"hostPort": 8080}])));
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    assert!(told.contains("forwardPorts: 80/tcp, 443/tcp: an ordinary user has ports from 1024 on"), "{told}");
    // A program of the host's has it.
    let taken = within(&machine.name, || TcpListener::bind("0.0.0.0:8080").unwrap());
    user.project(&definition(&json!([{"hostPort": 8080}])));
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    assert!(told.contains("forwardPorts: 8080/tcp: can't be opened on this host: Address already in use"), "{told}");
    drop(taken);
    user.call(&["up", "-d", "firn.json"]).succeeds();
    user.project(&json!({"b": definition(&json!([{"hostPort": 8080, "containerPort": 80}]))["a"]}));
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    assert!(told.contains("forwardPorts: 8080/tcp is taken by container a"), "{told}");
    user.call(&["destroy", "--all"]).succeeds();
    // Neither program is there.
    user.env = vec![format!("PATH={}", user.scratch.join("bin").display())];
    let told = user.call(&["up", "-d", "firn.json"]);
    assert!(told.stderr.contains("install one of them (Debian's packages passt and slirp4netns)"), "{told:?}");
    // Its own error, where a program can't do it.
    user.env = vec!["FIRNCTL_NETWORK=pasta".into()];
    machine.ip(&["route", "delete", "default"]);
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    assert!(told.contains("pasta: ") && told.contains("interface"), "{told}");
    // Of what both need.
    let tun = user.scratch.join("tun");
    std::fs::set_permissions(&tun, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    assert!(told.contains("privateNetwork: /dev/net/tun, which pasta and slirp4netns need"), "{told}");
    user.leaves_nothing();
}
