//! Names for containers, and ports of the host's loopback addresses.

use crate::machine::{ANSWER, Machine, Mounts, within, within_file};
use firn_conformance::harness::{command, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A resolver of the host's that knows one address for all names, by datagrams and by streams.
pub fn upstream(machine: &str, at: &str, address: [u8; 4]) {
    let (datagrams, streams) = within(machine, || (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap()));
    let answer = move |query: &[u8]| {
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let header = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
        let record = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4];
        [&header, &query[12..end], &record, &address].concat()
    };
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, peer)) = datagrams.recv_from(&mut query) {
            datagrams.send_to(&answer(&query[..length]), peer).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in streams.incoming() {
            let mut stream = stream.unwrap();
            if let Some(query) = read_message(&mut stream) {
                let answer = answer(&query);
                stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).unwrap();
            }
        }
    });
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// A query for the address of a name.
fn query(name: &str) -> Vec<u8> {
    let mut text = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        text.push(label.len() as u8);
        text.extend(label.as_bytes());
    }
    [text, vec![0, 0, 1, 0, 1]].concat()
}

const RESOLVER: &str = "127.0.0.11:53";

/// The last four bytes of what a container is told of a name: an address.
fn look_up(inside: &Path, name: &str, stream: bool) -> Option<Vec<u8>> {
    let query = query(name);
    let answer = within_file(inside, || match stream {
        true => {
            let mut stream = TcpStream::connect(RESOLVER).unwrap();
            stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
            read_message(&mut stream).unwrap()
        }
        false => {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket.send_to(&query, RESOLVER).unwrap();
            let mut answer = vec![0; 512];
            let length = socket.recv(&mut answer).unwrap();
            answer[..length].to_vec()
        }
    });
    assert_eq!(answer[..2], query[..2], "the id");
    (answer[3] & 0xf == 0).then(|| answer[answer.len() - 4..].to_vec())
}

#[test]
fn names_are_answered_and_loopback_ports_passed_on() {
    let mut machine = Machine::new("net-names-inside");
    let resolv_conf = machine.host.scratch.write("resolv.conf", "search b.example\nnameserver 127.0.0.1\n");
    machine.keep_mounts(Mounts::new(&resolv_conf));
    upstream(&machine.name, "127.0.0.1:53", [192, 0, 2, 77]);
    upstream(&machine.name, "127.0.0.2:53", [192, 0, 2, 78]);
    machine.host.init("root", ANSWER);
    let (a, b) = (machine.host.name("a"), machine.host.name("b"));
    let ports = json!([
        {"hostPort": 8080, "containerPort": 80}, {"hostPort": 9, "protocol": "udp"},
    ]);
    let definition = |ports: &serde_json::Value| {
        json!({
            "a": {"hostname": "a", "extra": {"addressPrefix": "10.5.0"}, "forwardPorts": ports},
            "b": {"extra": {"addressPrefix": "10.5.1"}, "dependsOn": ["a"]},
            "c": {"extra": {"addressPrefix": "10.5.2"}, "copyResolvConf": false},
            "d": {"privateNetwork": true},
            "f": {"privateNetwork": true, "localAddress": "10.5.3.2"},
        })
    };
    machine.host.project(definition(&ports));
    machine.host.up();
    let text = machine.host.exec("a", &["cat", "/etc/resolv.conf"]);
    assert_eq!(text, "nameserver 127.0.0.11\nsearch containers b.example\n");
    let inside = machine.inside("a");
    for stream in [false, true] {
        assert_eq!(look_up(&inside, &format!("{b}.containers"), stream), Some(vec![10, 5, 1, 2]));
        assert_eq!(look_up(&inside, &format!("{a}.CONTAINERS"), stream), Some(vec![10, 5, 0, 2]));
        assert_eq!(look_up(&inside, "nobody.containers", stream), None);
        assert_eq!(look_up(&inside, "www.example", stream), Some(vec![192, 0, 2, 77]));
    }
    let printed = machine.host.exec("a", &["nslookup", "www.example"]);
    assert!(printed.contains("192.0.2.77"), "{printed}");
    // The host's resolvers are those of the time.
    machine.host.scratch.write("resolv.conf", "nameserver 127.0.0.2\n");
    assert_eq!(look_up(&inside, "www.example", false), Some(vec![192, 0, 2, 78]));
    // Who can't speak to other machines is not told of them either.
    let lonely = machine.inside("f");
    assert_eq!(look_up(&lonely, &format!("{a}.containers"), false), Some(vec![10, 5, 0, 2]));
    assert_eq!(look_up(&lonely, "www.example", false), None);
    // Who wants none, or has only `lo`, has none.
    for name in ["c", "d"] {
        let none = within_file(&machine.inside(name), || TcpStream::connect(RESOLVER).is_err());
        assert!(none, "{name}");
    }

    // Loopback addresses of the host.
    let told = |to: &str| machine.call(&machine.name, to);
    let answer = Some("I am a".to_owned());
    wait_until("it answers", || told("10.5.0.2:80") == answer);
    for to in ["[::1]:8080", "127.0.0.1:8080"] {
        assert_eq!(told(to), answer, "{to}");
    }
    let echo = within_file(&inside, || UdpSocket::bind("10.5.0.2:9").unwrap());
    let echoes = std::thread::spawn(move || {
        let mut datagram = [0; 9000];
        for _ in 0..2 {
            let (length, peer) = echo.recv_from(&mut datagram).unwrap();
            echo.send_to(&datagram[..length], peer).unwrap();
        }
    });
    let client = within(&machine.name, || UdpSocket::bind("[::1]:0").unwrap());
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for datagram in [&[7; 3][..], &[8; 8000]] {
        client.send_to(datagram, "[::1]:9").unwrap();
        let mut back = [0; 9000];
        let length = client.recv(&mut back).unwrap();
        assert_eq!(&back[..length], datagram);
    }
    echoes.join().unwrap();
    // They change with the container's ports.
    machine.host.project(definition(&json!([{"hostPort": 8081, "containerPort": 80}])));
    machine.host.up();
    assert_eq!((told("[::1]:8080"), told("[::1]:8081")), (None, answer.clone()));

    // It holds nothing of those who have started it, and is not of the monitor with which it came.
    let resident = machine.resident().unwrap();
    for entry in std::fs::read_dir(format!("/proc/{resident}/fd")).unwrap().flatten() {
        let link = std::fs::read_link(entry.path()).map(|link| link.display().to_string()).unwrap_or_default();
        let is_own = ["socket:", "anon_inode:", "/dev/null", ""].iter().any(|kind| link.starts_with(kind));
        assert!(is_own && !link.starts_with('/') || link == "/dev/null", "{link}");
    }
    machine.host.ask_for_restart("a");
    wait_until("it is there again", || told("[::1]:8081") == answer);
    machine.host.call(&["restart", &a]).succeeds();
    assert_eq!(machine.resident(), Some(resident));
    let inside = machine.inside("a");
    wait_until("it answers", || told("10.5.0.2:80") == answer);

    // It has no privileges, and one that is killed has a successor with the next start.
    let status = std::fs::read_to_string(format!("/proc/{resident}/status")).unwrap();
    for line in ["Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000000000", "Seccomp:\t2", "Groups:\t\n"] {
        assert!(status.replace("Groups:\t \n", "Groups:\t\n").contains(line), "{line}: {status}");
    }
    command(Command::new("kill").args(["-9", &resident.to_string()])).succeeds();
    wait_until("it is gone", || machine.resident().is_none());
    machine.host.call(&["restart", &b]).succeeds();
    assert_eq!(look_up(&inside, &format!("{b}.containers"), false), Some(vec![10, 5, 1, 2]));
    assert_eq!(told("[::1]:8081"), answer);
    // So has one of ports that change.
    let resident = machine.resident().unwrap();
    command(Command::new("kill").args(["-9", &resident.to_string()])).succeeds();
    machine.host.call(&["port", &a, "add", "8082:80"]).succeeds();
    assert_eq!((told("[::1]:8081"), told("[::1]:8082")), (answer.clone(), answer.clone()));
    assert_eq!(look_up(&inside, "www.example", false), Some(vec![192, 0, 2, 78]));
    machine.host.call(&["restart", &b]).succeeds();
    // A port that is taken changes nothing.
    let taken = within(&machine.name, || TcpListener::bind("[::1]:8083").unwrap());
    assert_eq!(machine.host.call(&["port", &a, "add", "8083:80"]).code, 1);
    drop(taken);
    assert_eq!(told("[::1]:8082"), answer);
    // A name goes with its container.
    machine.host.call(&["stop", &b]).succeeds();
    assert_eq!(look_up(&inside, &format!("{b}.containers"), false), None);

    // On a bridge 127.0.0.1 is passed on as well.
    machine.ip(&["link", "add", "br0", "type", "bridge"]);
    machine.ip(&["address", "add", "10.5.9.1/24", "dev", "br0"]);
    machine.ip(&["link", "set", "br0", "up"]);
    machine.host.project(json!({"e": {
        "hostname": "e", "privateNetwork": true, "hostBridge": "br0", "hostAddress": "10.5.9.1", "localAddress": "10.5.9.2/24",
        "forwardPorts": [{"hostPort": 8090, "containerPort": 80}],
    }}));
    machine.host.up();
    let answer = Some("I am e".to_owned());
    wait_until("it answers", || told("10.5.9.2:80") == answer);
    for to in ["[::1]:8090", "127.0.0.1:8090", "192.0.2.1:8090"] {
        assert_eq!(told(to), answer, "{to}");
    }
    machine.host.call(&["destroy", "--all"]).succeeds();
    machine.ip(&["link", "delete", "br0"]);
    machine.leaves_nothing();
}

#[test]
fn a_host_without_ipv6_has_the_other_ports() {
    let machine = Machine::new("net-v4");
    within(&machine.name, || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
    machine.host.init("root", ANSWER);
    machine.host.project(json!({"a": {
        "hostname": "a", "extra": {"addressPrefix": "10.4.0"}, "forwardPorts": [{"hostPort": 8080, "containerPort": 80}],
    }}));
    machine.host.up();
    wait_until("it answers", || machine.call(&machine.name, "127.0.0.1:8080").as_deref() == Some("I am a"));
    machine.leaves_nothing();
}
