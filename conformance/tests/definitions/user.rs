//! An ordinary user with firnctl, whose containers are gone when a test ends.

use crate::host::{INIT, processes};
use firn_conformance::harness::place::{give_to, program};
use firn_conformance::harness::{Output, Scratch, binary, busybox_root, command, wait_until};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nobody else's, on any machine that runs these tests.
pub const USER: u32 = 61_236;
pub const SUBIDS: u32 = 3_200_000;

pub struct User {
    pub scratch: Scratch,
    /// The network namespace that is the host's.
    pub network: Option<String>,
    /// Has ids in /etc/subuid and /etc/subgid.
    pub has_subids: bool,
    /// Variables beside the usual ones.
    pub env: Vec<String>,
}

impl User {
    /// With a home, and a busybox root in it.
    pub fn new(test: &str) -> Self {
        program("newuidmap", "uidmap");
        let scratch = Scratch::new(test);
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        busybox_root(&scratch.directory("home/root"));
        for directory in ["bin", "runtime"] {
            scratch.directory(directory);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        scratch.write("passwd", &format!("{passwd}firn-test:x:{USER}:{USER}::/:/bin/sh\n"));
        scratch.write("subids", &format!("firn-test:{SUBIDS}:65536\n"));
        scratch.write("none", "");
        scratch.write("resolv.conf", "search b.example\nnameserver 127.0.0.53\n");
        let tun = scratch.join("tun");
        command(Command::new("mknod").args(["-m", "0666"]).arg(&tun).args(["c", "10", "200"])).succeeds();
        let user = User { scratch, network: None, has_subids: true, env: Vec::new() };
        user.init(INIT);
        give_to(&user.home(), USER);
        give_to(&user.scratch.join("runtime"), USER);
        std::fs::set_permissions(user.scratch.join("runtime"), PermissionsExt::from_mode(0o700)).unwrap();
        user
    }

    pub fn home(&self) -> PathBuf {
        self.scratch.join("home")
    }

    /// The init of the root.
    pub fn init(&self, script: &str) {
        let path = self.scratch.write("home/root/init", script);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// The project file.
    pub fn project(&self, containers: &Value) {
        self.scratch.write("home/firn.json", &serde_json::json!({"containers": containers}).to_string());
    }

    /// A script of the user's, in the home.
    pub fn script(&self, script: &str) -> Command {
        let dir = self.scratch.path().display();
        let ids = if self.has_subids { "subids" } else { "none" };
        let programs = binary("firnctl");
        let programs = programs.parent().unwrap().display();
        // The user's own view: what the host has of these is another test's.
        let view = format!(
            "mount --bind {dir}/passwd /etc/passwd; mount --bind {dir}/{ids} /etc/subuid; mount --bind {dir}/{ids} /etc/subgid
             mount --bind {dir}/resolv.conf $(realpath /etc/resolv.conf); mount --bind {programs} {dir}/bin
             [ ! -e /dev/net/tun ] || mount --bind {dir}/tun /dev/net/tun
             cd {dir}/home; exec \"$@\""
        );
        let mut command = match &self.network {
            Some(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg("unshare");
                command
            }
            None => Command::new("unshare"),
        };
        command.args(["--mount", "--propagation", "private", "sh", "-ec", &view, "sh"]);
        command.arg(program("setpriv", "util-linux"));
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        command.args(["env", "-i", &format!("PATH={dir}/bin:/usr/bin:/bin:/usr/sbin:/sbin")]);
        command.args([&format!("HOME={dir}/home"), &format!("XDG_RUNTIME_DIR={dir}/runtime"), "FIRNCTL_ROOTLESS=1"]);
        command.args(&self.env).args(["/bin/sh", "-ec", script]);
        command
    }

    /// What it prints.
    #[track_caller]
    pub fn succeeds(&self, script: &str) -> String {
        command(&mut self.script(script)).succeeds().stdout
    }

    pub fn call(&self, args: &[&str]) -> Output {
        let mut line = self.script("exec firnctl \"$@\"");
        command(line.arg("firnctl").args(args))
    }

    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.call(&["status", name]).succeeds().stdout.trim().to_owned()
    }

    /// Kills all that runs of firn's, and init.
    pub fn kill_all(&self, name: &str) {
        let text = self.call(&["status", "--json", name]).succeeds().stdout;
        let init = serde_json::from_str::<Value>(&text).unwrap()["pid"].to_string();
        let pids = command(Command::new("pgrep").args(["-u", &USER.to_string(), "-f"]).arg(self.scratch.id())).stdout;
        let all: Vec<&str> = pids.split_whitespace().chain([&*init]).collect();
        command(Command::new("kill").arg("-9").args(&all));
        let is_gone = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        wait_until("all has ended", || all.iter().all(|pid| is_gone(pid)));
    }

    /// Destroys all, and looks for what is left of them.
    #[track_caller]
    pub fn leaves_nothing(&self) {
        self.call(&["destroy", "--all"]).succeeds();
        for directory in [
            "home/.local/state/firnctl/containers",
            "runtime/firnctl/containers",
            "runtime/firnctl/monitors",
            "runtime/firnctl/runtime",
        ] {
            let entries = std::fs::read_dir(self.scratch.join(directory)).into_iter().flatten().flatten();
            let left: Vec<_> = entries.map(|entry| entry.file_name()).filter(|name| name != "@keeper").collect();
            assert!(left.is_empty(), "{directory}: {left:?}");
        }
        wait_until("no process is left", || processes(&self.scratch.id()).is_empty());
    }

    /// The owner of a file on the host.
    pub fn owner(&self, path: &str) -> u32 {
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(self.scratch.join(path)).unwrap())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.scratch.join("runtime/firnctl").exists() {
            self.call(&["destroy", "--all"]);
        }
        let layers: &Path = &self.home().join(".local/share");
        if layers.exists() {
            command(&mut self.script("firn-image unshare rm -rf .local/share"));
        }
    }
}
