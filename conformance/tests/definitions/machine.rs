//! A machine of the test's own: a network namespace, with a client in another.

use crate::host::Host;
use firn_conformance::harness::{command, wait_until};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A host in a network namespace, on a wire (192.0.2.0/24, 2001:db8::/64) with a client in another.
pub struct Machine {
    pub host: Host,
    pub name: String,
    pub client: String,
    /// Its mount namespace, which its containers' end needs still.
    pub mounts: Option<Mounts>,
}

pub const WIRE: [(&str, &str, &str); 2] =
    [("wire0", "192.0.2.1/24", "2001:db8::1/64"), ("wire1", "192.0.2.9/24", "2001:db8::9/64")];

impl Machine {
    pub fn new(test: &str) -> Self {
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

    /// Has a mount namespace from now on.
    pub fn keep_mounts(&mut self, mounts: Mounts) {
        self.host.mounts = Some(format!("/proc/{}/ns/mnt", mounts.0.id()).into());
        self.mounts = Some(mounts);
    }

    /// What `ip` prints on the machine.
    pub fn ip(&self, args: &[&str]) -> String {
        ip(&[&["-n", &*self.name], args].concat())
    }

    pub fn rules(&self) -> String {
        let mut nft = Command::new("nsenter");
        command(nft.arg(format!("--net=/run/netns/{}", self.name)).args(["nft", "list", "ruleset"])).succeeds().stdout
    }

    /// The names of the machine's links.
    pub fn links(&self) -> Vec<String> {
        let text = self.ip(&["-brief", "link"]);
        text.lines().filter_map(|line| line.split(['@', ' ']).next()).map(str::to_owned).collect()
    }

    pub fn leaves_nothing(&self) {
        self.host.leaves_nothing();
        assert_eq!(self.links(), ["lo", "wire0"]);
        wait_until("the resident process has ended", || self.resident().is_none());
        assert!(!self.host.scratch.join("run/networks.socket").exists());
        assert_eq!(self.rules(), "");
        assert_eq!(std::fs::read_to_string(self.host.scratch.join("hosts")).unwrap_or_default(), "");
    }

    /// The process that answers names.
    pub fn resident(&self) -> Option<i32> {
        let own = std::fs::metadata(format!("/run/netns/{}", self.name)).unwrap();
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let namespace = std::fs::metadata(entry.path().join("ns/net")).ok()?;
            let is_own = std::os::unix::fs::MetadataExt::ino(&namespace) == std::os::unix::fs::MetadataExt::ino(&own);
            (line == "firn-network\0reside\0" && is_own).then(|| entry.file_name().to_str()?.parse().ok())?
        })
    }

    /// The network namespace of a container.
    pub fn inside(&self, name: &str) -> PathBuf {
        let status = self.host.call(&["status", "--json", &self.host.name(name)]).succeeds().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        format!("/proc/{}/ns/net", status["pid"]).into()
    }

    /// What a port answers when it is called from a namespace.
    pub fn call(&self, from: &str, to: &str) -> Option<String> {
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
pub fn ip(args: &[&str]) -> String {
    command(Command::new("ip").args(args)).succeeds().stdout
}

/// Runs it in a network namespace; sockets that it makes stay there.
pub fn within<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> T {
    within_file(Path::new(&format!("/run/netns/{namespace}")), act)
}

pub fn within_file<T: Send>(path: &Path, act: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(path).unwrap();
    let enter = || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
}

/// An init that answers on port 80, by either family.
pub const ANSWER: &str = "\
#!/bin/sh
[ \"$1\" = answer ] && { echo \"I am $(hostname)\"; exit; }
trap 'exit 0' 37
trap 'exit 133' USR1
printf '#!/bin/sh\\n/init answer\\n' >/answer
chmod +x /answer
nc -ll -p 80 -e /answer &
while :; do sleep 60 & wait $!; done
";

/// A mount namespace, and the processes in it.
pub struct Mounts(Child);

impl Mounts {
    /// With a resolv.conf of its own.
    pub fn new(resolv_conf: &Path) -> Self {
        let script = r#"mount --bind "$0" /etc/resolv.conf && echo ready && exec sleep 1000"#;
        let mut unshare = Command::new("unshare");
        Self::hold(unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(resolv_conf))
    }

    /// That of a program which says "ready" when all is there.
    pub fn hold(program: &mut Command) -> Self {
        let program = program.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = program.spawn().unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let mounts = Mounts(holder);
        assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
        mounts
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        command(Command::new("kill").args(["-9", "--", &format!("-{}", self.0.id())]));
        self.0.wait().unwrap();
    }
}
