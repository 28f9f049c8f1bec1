//! Networks of containers, on a machine of the test's own: a network namespace, with a client in another.

use crate::host::Host;
use firn_conformance::harness::{command, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A host in a network namespace, on a wire (192.0.2.0/24, 2001:db8::/64) with a client in another.
struct Machine {
    host: Host,
    name: String,
    client: String,
    /// Its mount namespace, which its containers' end needs still.
    mounts: Option<Mounts>,
}

const WIRE: [(&str, &str, &str); 2] =
    [("wire0", "192.0.2.1/24", "2001:db8::1/64"), ("wire1", "192.0.2.9/24", "2001:db8::9/64")];

impl Machine {
    fn new(test: &str) -> Self {
        let mut host = Host::new(test);
        let (name, client) = (host.name("m"), host.name("c"));
        for namespace in [&name, &client] {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        ip(&["-n", &name, "link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns", &client]);
        for (namespace, (interface, v4, v6)) in [&name, &client].into_iter().zip(WIRE) {
            ip(&["-n", namespace, "address", "add", v4, "dev", interface]);
            ip(&["-n", namespace, "address", "add", v6, "dev", interface, "nodad"]);
            ip(&["-n", namespace, "link", "set", interface, "up"]);
        }
        host.network = Some(name.clone());
        Machine { host, name, client, mounts: None }
    }

    /// What `ip` prints on the machine.
    fn ip(&self, args: &[&str]) -> String {
        ip(&[&["-n", &*self.name], args].concat())
    }

    fn rules(&self) -> String {
        let mut nft = Command::new("nsenter");
        command(nft.arg(format!("--net=/run/netns/{}", self.name)).args(["nft", "list", "ruleset"])).succeeds().stdout
    }

    /// The names of the machine's links.
    fn links(&self) -> Vec<String> {
        let text = self.ip(&["-brief", "link"]);
        text.lines().filter_map(|line| line.split(['@', ' ']).next()).map(str::to_owned).collect()
    }

    fn leaves_nothing(&self) {
        self.host.leaves_nothing();
        assert_eq!(self.links(), ["lo", "wire0"]);
        wait_until("the resident process has ended", || self.resident().is_none());
        assert!(!self.host.scratch.join("run/networks.socket").exists());
        assert_eq!(self.rules(), "");
        assert_eq!(std::fs::read_to_string(self.host.scratch.join("hosts")).unwrap_or_default(), "");
    }

    /// The process that answers names.
    fn resident(&self) -> Option<i32> {
        let own = std::fs::metadata(format!("/run/netns/{}", self.name)).unwrap();
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let namespace = std::fs::metadata(entry.path().join("ns/net")).ok()?;
            let is_own = std::os::unix::fs::MetadataExt::ino(&namespace) == std::os::unix::fs::MetadataExt::ino(&own);
            (line == "firn-network\0reside\0" && is_own).then(|| entry.file_name().to_str()?.parse().ok())?
        })
    }

    /// The network namespace of a container.
    fn inside(&self, name: &str) -> PathBuf {
        let status = self.host.call(&["status", "--json", &self.host.name(name)]).succeeds().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        format!("/proc/{}/ns/net", status["pid"]).into()
    }

    /// What a port answers when it is called from a namespace.
    fn call(&self, from: &str, to: &str) -> Option<String> {
        let to: SocketAddr = to.parse().unwrap();
        within(from, || {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text.trim().to_owned())
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.host.call(&["destroy", "--all"]);
        for namespace in [&self.name, &self.client] {
            command(Command::new("ip").args(["netns", "delete", namespace]));
        }
    }
}

#[track_caller]
fn ip(args: &[&str]) -> String {
    command(Command::new("ip").args(args)).succeeds().stdout
}

/// Runs it in a network namespace; sockets that it makes stay there.
fn within<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> T {
    within_file(Path::new(&format!("/run/netns/{namespace}")), act)
}

fn within_file<T: Send>(path: &Path, act: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(path).unwrap();
    let enter = || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
}

/// An init that answers on port 80, by either family.
const ANSWER: &str = "\
#!/bin/sh
[ \"$1\" = answer ] && { echo \"I am $(hostname)\"; exit; }
trap 'exit 0' 37
trap 'exit 133' USR1
printf '#!/bin/sh\\n/init answer\\n' >/answer
chmod +x /answer
nc -ll -p 80 -e /answer &
while :; do sleep 60 & wait $!; done
";

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

/// A resolver of the host's that knows one address for all names, by datagrams and by streams.
fn upstream(machine: &str, at: &str, address: [u8; 4]) {
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

/// A mount namespace with a resolv.conf of its own.
struct Mounts(Child);

impl Mounts {
    fn new(resolv_conf: &Path) -> Self {
        let script = r#"mount --bind "$0" /etc/resolv.conf && echo ready && exec sleep 1000"#;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(resolv_conf);
        let mut holder = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 6];
        holder.stdout.take().unwrap().read_exact(&mut line).unwrap();
        Mounts(holder)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn names_are_answered_and_loopback_ports_passed_on() {
    let mut machine = Machine::new("net-names-inside");
    let resolv_conf = machine.host.scratch.write("resolv.conf", "search b.example\nnameserver 127.0.0.1\n");
    let mounts = Mounts::new(&resolv_conf);
    machine.host.mounts = Some(format!("/proc/{}/ns/mnt", mounts.0.id()).into());
    machine.mounts = Some(mounts);
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

    // It is not of the monitor with which it came.
    let resident = machine.resident().unwrap();
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
