//! Firewalls: the containers' own, and what else has rules on the host.

use crate::machine::{ANSWER, Machine, Mounts, within, within_file};
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

impl Machine {
    fn run(&self, words: &str) -> String {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/run/netns/{}", self.name));
        nsenter.args(self.host.mounts.iter().map(|path| format!("--mount={}", path.display())));
        command(nsenter.args(words.split(' '))).succeeds().stdout
    }
}

/// A mount namespace with a firewalld, and what it needs of D-Bus.
fn start_firewalld(machine: &mut Machine) {
    let script = r#"
        mount -t tmpfs tmpfs /run && mkdir -p /run/dbus && mount -t tmpfs tmpfs /etc/firewalld || exit
        mount -t tmpfs tmpfs /usr/share/dbus-1/system-services && mount -t tmpfs tmpfs /var/log || exit
        dbus-daemon --system --nofork --nopidfile >/dev/null &
        until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
        firewalld --nofork >/dev/null &
        until busctl call org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 \
            org.fedoraproject.FirewallD1 getDefaultZone; do sleep 0.1; done
        echo ready; wait
    "#;
    let mut unshare = Command::new("nsenter");
    unshare.arg(format!("--net=/run/netns/{}", machine.name));
    unshare.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", script]);
    machine.keep_mounts(Mounts::hold(&mut unshare));
}

#[test]
fn firewalld_is_asked_over_its_own_interface() {
    let mut machine = Machine::new("net-firewalld");
    machine.host.init("root", ANSWER);
    listen_on_client(&machine);
    let name = machine.host.name("a");
    let definition = |wan: bool| {
        json!({"a": {
            "hostname": "a", "extra": {"addressPrefix": "10.2.1", "enableWAN": wan},
            "forwardPorts": [{"hostPort": 8080, "containerPort": 80}], "restart": "no",
        }})
    };
    start_firewalld(&mut machine);
    let sources = |machine: &Machine| machine.run("firewall-cmd --zone=trusted --list-sources").trim().to_owned();
    machine.host.project(definition(true));
    let said = machine.host.up().stderr;
    assert!(!said.contains("dropped"), "{said}");
    wait_until("it answers", || machine.call(&machine.name, "10.2.1.2:80").is_some());
    assert_eq!(machine.call(&machine.client, "192.0.2.1:8080").as_deref(), Some("I am a"));
    assert!(reaches_client(&machine, "a"));
    assert_eq!(sources(&machine), "10.2.1.2");
    // What firewalld forgets is named, and there again with the next start.
    machine.run("firewall-cmd --reload");
    assert!(!reaches_client(&machine, "a"));
    machine.host.project(definition(false));
    machine.host.up();
    machine.host.project(definition(true));
    machine.host.up();
    assert!(reaches_client(&machine, "a"));
    for wan in [false, true] {
        machine.host.project(definition(wan));
        assert_eq!(machine.host.plan(), "a: live: extra.enableWAN\n");
        machine.host.up();
        assert_eq!(sources(&machine), if wan { "10.2.1.2" } else { "" });
    }
    machine.host.kill("a");
    machine.host.call(&["destroy", &name]).succeeds();
    assert_eq!(sources(&machine), "");
    machine.run("firewall-cmd --zone=trusted --add-source=10.2.1.2");
    machine.host.up();
    machine.host.call(&["destroy", &name]).succeeds();
    assert_eq!(sources(&machine), "10.2.1.2", "it was another's");
    // What it has made is its own.
    machine.host.mounts = None;
    machine.mounts = None;
    machine.run("nft flush ruleset");
    machine.leaves_nothing();
}

/// Whether a container reaches a program on the client.
fn reaches_client(machine: &Machine, name: &str) -> bool {
    let reached = machine.host.call(&["exec", &machine.host.name(name), "nc", "-w", "2", "192.0.2.9", "7000"]);
    reached.stdout == "here"
}

fn listen_on_client(machine: &Machine) {
    let listener = within(&machine.client, || TcpListener::bind("192.0.2.9:7000").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"here").unwrap();
        }
    });
}

#[test]
fn docker_lets_containers_through_by_its_own_chain_and_others_are_named() {
    let machine = Machine::new("net-docker");
    machine.host.init("root", ANSWER);
    listen_on_client(&machine);
    let name = machine.host.name("a");
    machine.host.project(json!({"a": {
        "hostname": "a", "extra": {"addressPrefix": "10.2.0", "enableWAN": true}, "hostAddress6": "fc00:2::1",
        "localAddress6": "fc00:2::2", "forwardPorts": [{"hostPort": 8080, "containerPort": 80}], "restart": "no",
    }}));
    // As Docker has it, without its chain for others.
    for program in ["iptables", "ip6tables"] {
        machine.run(&format!("{program} -P FORWARD DROP"));
        machine.run(&format!("{program} -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
        machine.run(&format!("{program} -A FORWARD -i docker0 -j ACCEPT"));
    }
    let said = machine.host.up().stderr;
    for expected in [
        "forwardPorts: what comes for 8080/tcp from other machines, is dropped by table ip filter, chain FORWARD: policy drop",
        "is dropped by table ip6 filter, chain FORWARD: policy drop",
        "extra.enableWAN: what 10.2.0.2 sends to other machines, is dropped by table ip filter, chain FORWARD: policy drop",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert!(!said.contains("answers"), "{said}");
    wait_until("it answers", || machine.call(&machine.name, "10.2.0.2:80").is_some());
    assert_eq!(machine.call(&machine.client, "192.0.2.1:8080"), None);
    assert!(!reaches_client(&machine, "a"));

    let chain = |program: &str| machine.run(&format!("{program} -S DOCKER-USER"));
    let empty = "-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n";
    for program in ["iptables", "ip6tables"] {
        machine.run(&format!("{program} -N DOCKER-USER"));
        machine.run(&format!("{program} -A DOCKER-USER -j RETURN"));
        machine.run(&format!("{program} -I FORWARD -j DOCKER-USER"));
    }
    let said = machine.host.call(&["restart", &name]).succeeds().stderr;
    assert!(!said.contains("dropped"), "{said}");
    wait_until("it answers", || machine.call(&machine.name, "10.2.0.2:80").is_some());
    for to in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
        assert_eq!(machine.call(&machine.client, to).as_deref(), Some("I am a"), "{to}");
    }
    assert!(reaches_client(&machine, "a"));
    // Ports that come live, and one rule that is in the way.
    machine.host.call(&["port", &name, "add", "8081:81"]).succeeds();
    assert!(chain("iptables").contains("--dport 81 "), "{}", chain("iptables"));
    machine.run("nft add table inet mine");
    machine.run("nft add chain inet mine forward { type filter hook forward priority 5; }");
    machine.run("nft add rule inet mine forward ct state established accept");
    machine.run("nft add rule inet mine forward tcp dport 80-81 ip daddr 10.0.0.0/8 reject");
    let said = machine.host.call(&["port", &name, "add", "8082:82"]).succeeds().stderr;
    let rule = "table inet mine, chain forward: tcp dport 80-81 ip daddr 10.0.0.0/8 reject";
    assert_eq!(said.matches(rule).count(), 2, "{said}");
    machine.run("nft delete table inet mine");
    // All is killed: what is there is found by the next start, or by the end.
    let (before, before6) = (chain("iptables"), chain("ip6tables"));
    machine.host.kill("a");
    machine.host.call(&["start", &name]).succeeds();
    assert_eq!((chain("iptables"), chain("ip6tables")), (before, before6));
    machine.host.kill("a");
    machine.host.call(&["destroy", &name]).succeeds();
    assert_eq!((chain("iptables").as_str(), chain("ip6tables").as_str()), (empty, empty));
    for table in ["ip filter", "ip6 filter"] {
        machine.run(&format!("nft delete table {table}"));
    }
    machine.leaves_nothing();
}
