//! A node as a kubelet finds it: containerd with its CRI plugin, an image, and a
//! network for pods. All of it, and what it knows of the machine, is the test's own.

use crate::client::Client;
use firn_conformance::harness::left::cgroups;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Scratch, binary, busybox_root, command};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub const IMAGE: &str = "localhost/busybox:latest";
/// The runtimes: what a pod calls them, and where they are.
pub const RUNTIMES: [&str; 2] = ["firn", "runc"];
/// Where containerd's shim keeps the runtime's state.
pub const RUNTIME_ROOT: &str = "/run/containerd/runc/k8s.io";

pub struct Node {
    pub client: Client,
    _daemon: Daemon,
    pub scratch: Scratch,
}

impl Node {
    /// In a network and a mount namespace of its own, and so the calling thread.
    pub fn start(name: &str) -> Self {
        let scratch = Scratch::new(name);
        enter_namespaces();
        let config = configure(&scratch);
        let socket = scratch.join("containerd.sock");
        let daemon = Daemon::start(&scratch, &config);
        import_image(&scratch, &socket);
        let client = Client::start(&scratch, &socket);
        Node { client, _daemon: daemon, scratch }
    }

    /// What a pod's name is with a runtime.
    pub fn pod(&self, runtime: &str) -> String {
        self.scratch.id().replace('-', "") + runtime
    }

    /// That of the pod: a directory of that name, or a slice.
    pub fn cgroup(&self, runtime: &str) -> String {
        self.pod(runtime) + if has_systemd() { ".slice" } else { "" }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Of a test that failed.
        self.client.remove_all();
        for dir in RUNTIMES.iter().flat_map(|runtime| cgroups(&self.cgroup(runtime))) {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(scratch: &Scratch, config: &Path) -> Self {
        let path = scratch.join("containerd.log");
        let log = std::fs::File::create(&path).unwrap();
        let mut daemon = Command::new(program("containerd", "containerd"));
        daemon.arg("--config").arg(config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Daemon { process: daemon.spawn().expect("start containerd"), log: path }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            log.lines().filter(|line| !line.contains("level=info")).for_each(|line| println!("{line}"));
        }
        let _ = command(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}

pub fn runtime_binary(name: &str) -> PathBuf {
    if name == "firn" { binary(name) } else { program(name, name) }
}

pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// The shim's sockets, the runtime's state and what CNI knows are in fixed places.
fn enter_namespaces() {
    // SAFETY: the call concerns the calling thread alone, which has no descriptor
    // or path from before that it means otherwise afterwards.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) }, 0, "unshare");
    program("ip", "iproute2");
    let private = if has_systemd() { "/run/containerd" } else { "/run" };
    let script = format!(
        "mount --make-rprivate / && mkdir -p {private} /var/lib/cni && ip link set lo up &&
         for place in {private} /var/lib/cni; do mount -t tmpfs -o mode=755 tmpfs $place || exit; done"
    );
    command(Command::new("sh").args(["-c", &script])).succeeds();
}

fn configure(scratch: &Scratch) -> PathBuf {
    let directory = scratch.path().display();
    let mut config = format!(
        r#"version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
address = "{directory}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
# Not every root may lower a score.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{directory}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "firn"
"#
    );
    for runtime in RUNTIMES {
        let (path, systemd) = (runtime_binary(runtime), has_systemd());
        config += &format!(
            r#"[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{runtime}]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{runtime}.options]
BinaryName = "{}"
SystemdCgroup = {systemd}
"#,
            path.display()
        );
    }
    assert!(Path::new("/usr/lib/cni/ptp").exists(), "install Debian's package containernetworking-plugins");
    scratch.directory("cni");
    let addresses = r#""ranges": [[{"subnet": "192.0.2.0/24"}]]"#;
    let network = format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{"type": "ptp",
            "ipam": {{"type": "host-local", "dataDir": "{directory}/addresses", {addresses}}}}}]}}"#
    );
    scratch.write("cni/pods.conflist", &network);
    scratch.write("containerd.toml", &config)
}

/// A busybox image, in the format of `docker save`; its own program does nothing,
/// as that of a pod's first container should. Imported as soon as containerd answers.
fn import_image(scratch: &Scratch, socket: &Path) {
    busybox_root(&scratch.directory("image/root"));
    let script = r#"
        tar -C root -cf layer.tar .
        digest=$(sha256sum layer.tar | cut -d' ' -f1)
        echo '{"architecture":"amd64","os":"linux","config":{"Cmd":["sleep","1000000"],"Env":["PATH=/bin"]},
            "rootfs":{"type":"layers","diff_ids":["sha256:'$digest'"]}}' > config.json
        echo '[{"Config":"config.json","RepoTags":["'$1'"],"Layers":["layer.tar"]}]' > manifest.json
        tar -cf image.tar manifest.json config.json layer.tar"#;
    let mut shell = Command::new("sh");
    command(shell.args(["-ec", script, "sh", IMAGE]).current_dir(scratch.join("image"))).succeeds();
    let mut last = None;
    for _ in 0..300 {
        let mut ctr = Command::new(program("ctr", "containerd"));
        ctr.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "import"]);
        let output = command(ctr.arg(scratch.join("image/image.tar")));
        if output.code == 0 {
            return;
        }
        last = Some(output);
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("containerd does not answer: {last:?}");
}
