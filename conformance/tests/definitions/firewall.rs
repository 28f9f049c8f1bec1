//! Firewalls: the containers' own, and what else has rules on the host.

use crate::machine::{ANSWER, Machine, within, within_file};
use firn_conformance::harness::{command, wait_until};
use serde_json::json;
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

/// What the programs of the host need.
const PROGRAMS: [&str; 3] = ["/usr:/usr", "/lib:/lib", "/lib64:/lib64"];

/// A firewall as NixOS's, that lets nothing in but answers.
const FIREWALL: &str = "\
flush ruleset
table inet filter {
  chain nixos-fw { ct state established,related accept; iif lo accept; drop; }
  chain input { type filter hook input priority 0; policy drop; jump nixos-fw; }
}
";

#[test]
fn localhost_is_reached_by_the_address_where_nothing_listens() {
    let machine = Machine::new("net-expose");
    machine.host.init("root", ANSWER);
    let definition = |exposes: bool| {
        json!({"a": {
            "hostname": "a", "extra": {"addressPrefix": "10.3.0", "exposeLocalhost": exposes},
            "forwardPorts": [{"hostPort": 8081, "containerPort": 81}],
        }})
    };
    let told = |to: &str| machine.call(&machine.name, to);
    let answer = Some("I am a".to_owned());
    machine.host.project(definition(true));
    machine.host.up();
    listen(&machine, "127.0.0.1:81");
    wait_until("it answers", || told("10.3.0.2:80") == answer);
    let local = Some("127.0.0.1:81".to_owned());
    assert_eq!(told("10.3.0.2:81"), local);
    listen(&machine, "10.3.0.2:83");
    assert_eq!(told("10.3.0.2:83").as_deref(), Some("10.3.0.2:83"), "where something listens it stays so");
    assert_eq!(told("10.3.0.2:82"), None);
    assert_eq!(machine.call(&machine.client, "192.0.2.1:8081"), local, "by a forwarded port");
    // Nobody is led to other addresses of the loopback than by that rule.
    let rules = machine.host.firewall("a", "list ruleset");
    assert!(rules.contains("ip daddr 127.0.0.0/8 drop"), "{rules}");
    for exposes in [false, true] {
        machine.host.project(definition(exposes));
        assert_eq!(machine.host.plan(), "a: live: extra.exposeLocalhost\n");
        machine.host.up();
        assert_eq!(told("10.3.0.2:81"), local.clone().filter(|_| exposes));
        assert_eq!(told("10.3.0.2:80"), answer);
    }
    machine.host.call(&["restart", &machine.host.name("a")]).succeeds();
    wait_until("it is there again", || told("10.3.0.2:80") == answer);
    listen(&machine, "127.0.0.1:81");
    assert_eq!(told("10.3.0.2:81"), local);
    machine.leaves_nothing();
}

/// Answers in container `a` with where it listens.
fn listen(machine: &Machine, at: &'static str) {
    let listener = within_file(&machine.inside("a"), || TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(at.as_bytes()).unwrap();
        }
    });
}

#[test]
fn the_host_comes_through_a_containers_firewall() {
    let machine = Machine::new("net-admit");
    machine.host.scratch.write("root/firewall", FIREWALL);
    machine.host.init("root", &ANSWER.replace("nc -ll", "nft -f /firewall\nnc -ll"));
    let definition = |admits: bool| {
        json!({"a": {
            "hostname": "a", "extra": {"addressPrefix": "10.3.1", "firewallAllowHost": admits},
            "hostAddress6": "fc00:31::1", "localAddress6": "fc00:31::2", "volumes-ro": PROGRAMS,
            "environment": {"PATH": "/usr/sbin:/usr/bin:/bin"},
        }})
    };
    machine.host.project(definition(true));
    machine.host.up();
    let answer = Some("I am a".to_owned());
    for to in ["10.3.1.2:80", "[fc00:31::2]:80"] {
        wait_until("it answers", || machine.call(&machine.name, to) == answer);
    }
    // Nobody else does.
    within(&machine.name, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    command(Command::new("ip").args(["-n", &machine.client, "route", "add", "10.3.1.2", "via", "192.0.2.1"]))
        .succeeds();
    assert_eq!(machine.call(&machine.client, "10.3.1.2:80"), None);
    // A firewall that is made anew, and one that is added.
    machine.host.firewall("a", "-f /firewall");
    wait_until("it answers", || machine.call(&machine.name, "10.3.1.2:80") == answer);
    machine.host.firewall("a", "add table ip more");
    machine.host.firewall("a", "add chain ip more input { type filter hook input priority 5; policy drop; }");
    wait_until("it answers", || machine.call(&machine.name, "10.3.1.2:80") == answer);
    machine.host.project(definition(false));
    assert_eq!(machine.host.plan(), "a: restart: extra.firewallAllowHost\n");
    machine.host.up();
    wait_until("its firewall is there", || machine.host.firewall("a", "list ruleset").contains("nixos-fw"));
    assert_eq!(machine.call(&machine.name, "10.3.1.2:80"), None);
    machine.leaves_nothing();
}

impl crate::host::Host {
    /// What nft prints in a container.
    #[track_caller]
    fn firewall(&self, name: &str, words: &str) -> String {
        let status = self.call(&["status", "--json", &self.name(name)]).succeeds().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &status["pid"].to_string(), "-n"]);
        if words.starts_with("-f") {
            nsenter.arg("-m");
        }
        command(nsenter.arg("/usr/sbin/nft").args(words.split(' '))).succeeds().stdout
    }
}
