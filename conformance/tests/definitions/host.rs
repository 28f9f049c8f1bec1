//! A firnctl with directories of its own, whose containers are gone when a test ends.

use firn_conformance::harness::{Output, Scratch, binary, busybox_root, command, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Stops at the stop signal, and restarts by 133 at SIGUSR1.
pub const INIT: &str = "\
#!/bin/sh
trap 'echo stopping; exit 0' 37
trap 'exit 133' USR1
echo \"up A=$A\"
while :; do sleep 60 & wait $!; done
";

pub struct Host {
    pub scratch: Scratch,
    /// The network namespace that is the host's.
    pub network: Option<String>,
    /// The mount namespace that is the host's.
    pub mounts: Option<PathBuf>,
}

impl Host {
    /// With a busybox root in `root`.
    pub fn new(test: &str) -> Self {
        let scratch = Scratch::new(test);
        busybox_root(&scratch.directory("root"));
        let host = Host { scratch, network: None, mounts: None };
        host.init("root", INIT);
        host
    }

    /// The init of a root.
    pub fn init(&self, root: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.scratch.write(&format!("{root}/init"), script);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A container's name that no other test has.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.scratch.id())
    }

    /// A project file with these containers, whose names are made of the given ones.
    pub fn project(&self, containers: Value) {
        let named: serde_json::Map<String, Value> = containers
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, definition)| {
                let mut definition = definition.clone();
                definition.as_object_mut().unwrap().entry("rootFS").or_insert(json!(["./root"]));
                for other in definition.get_mut("dependsOn").and_then(Value::as_array_mut).into_iter().flatten() {
                    *other = self.name(other.as_str().unwrap()).into();
                }
                (self.name(name), definition)
            })
            .collect();
        self.scratch.write("firn.json", &json!({"containers": named}).to_string());
    }

    pub fn firnctl(&self, args: &[&str]) -> Command {
        self.program(&binary("firnctl"), args)
    }

    /// firnctl, called by another name: a link.
    pub fn link(&self, name: &str, args: &[&str]) -> Command {
        let link = self.scratch.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(binary("firnctl"), &link).unwrap();
        }
        self.program(&link, args)
    }

    fn program(&self, program: &Path, args: &[&str]) -> Command {
        let mut firnctl = match &self.network {
            Some(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}"));
                command.args(self.mounts.iter().map(|path| format!("--mount={}", path.display())));
                // A mount namespace is entered at its root.
                command.args(["env", "-C"]).arg(self.scratch.path()).arg(program);
                command
            }
            None => Command::new(program),
        };
        firnctl.current_dir(self.scratch.path());
        let places = ["--state-dir", "state", "--run-dir", "run", "--hosts-file", "hosts"];
        firnctl.args(places).args(["--authorized-keys", "authorized_keys"]).args(args);
        firnctl
    }

    pub fn call(&self, args: &[&str]) -> Output {
        command(&mut self.firnctl(args))
    }

    /// Brings up what [`Host::project`] wrote.
    #[track_caller]
    pub fn up(&self) -> Output {
        self.call(&["up", "--detach", "firn.json"]).succeeds()
    }

    /// What a program in a container prints.
    #[track_caller]
    pub fn exec(&self, name: &str, args: &[&str]) -> String {
        self.call(&[&["exec", &self.name(name)], args].concat()).succeeds().stdout
    }

    /// Has a container's init ask for a restart. The exec may be killed with what runs there.
    pub fn ask_for_restart(&self, name: &str) {
        self.call(&["exec", &self.name(name), "sh", "-c", "kill -USR1 1"]);
    }

    /// Kills the monitor of a container, and its init.
    pub fn kill(&self, name: &str) {
        let text = self.call(&["status", "--json", &self.name(name)]).succeeds().stdout;
        let pid = serde_json::from_str::<Value>(&text).unwrap()["pid"].to_string();
        let monitor = format!("firn-shim.*{}", self.name(name));
        command(Command::new("pkill").args(["-9", "-f", &monitor])).succeeds();
        wait_until("it is gone", || command(Command::new("pgrep").args(["-f", &monitor])).code == 1);
        command(Command::new("kill").args(["-9", &pid])).succeeds();
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        wait_until("init has ended", || stat().is_empty() || stat().contains(") Z "));
    }

    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.call(&["status", &self.name(name)]).succeeds().stdout.trim().to_owned()
    }

    /// A line for each container, with short names.
    #[track_caller]
    pub fn plan(&self) -> String {
        let output = self.call(&["plan", "firn.json"]);
        let is_unchanged = output.stdout.lines().all(|line| line.contains(": unchanged"));
        assert_eq!(output.code, if is_unchanged { 0 } else { 10 }, "{output:?}");
        let text = output.stdout;
        text.replace(&format!("{}-", self.scratch.id()), "").replace(&self.scratch.path().display().to_string(), "")
    }

    pub fn log(&self, name: &str) -> String {
        self.call(&["logs", &self.name(name)]).succeeds().stdout
    }

    /// Waits for a log: what init prints may still be on its way when it is ready.
    #[track_caller]
    pub fn expect_log(&self, name: &str, expected: &str) {
        wait_until(&format!("the log is {expected:?}, and not {:?}", self.log(name)), || self.log(name) == expected);
    }

    /// What firnctl keeps of a container.
    pub fn state(&self, name: &str) -> PathBuf {
        self.scratch.join("state/containers").join(self.name(name))
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut firnctl = self.firnctl(args);
        firnctl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Destroys all, and looks for what is left of them.
    #[track_caller]
    pub fn leaves_nothing(&self) {
        self.call(&["destroy", "--all"]).succeeds();
        let id = self.scratch.id();
        for directory in ["state/containers", "run/containers", "run/monitors", "run/runtime", "run/networks"] {
            let names = |entries: std::fs::ReadDir| entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            let mut left = std::fs::read_dir(self.scratch.join(directory)).map(names).unwrap_or_default();
            // The keeper's, and of no container.
            left.retain(|name| name != "@keeper");
            assert!(left.is_empty(), "{directory}: {left:?}");
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        // A test's own network namespaces are not firn's.
        let left: Vec<&str> =
            mounts.lines().filter(|line| line.contains(&id) && !line.contains(" /run/netns/")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(cgroups(&id), Vec::<PathBuf>::new());
        // A monitor that has told its end is just about to exit.
        wait_until("no process is left", || processes(&id).is_empty());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What is declared is not destroyed.
        let _ = std::fs::remove_dir_all(self.scratch.join("declared"));
        self.call(&["destroy", "--all"]);
    }
}

/// Cgroups of containers with this name's beginning.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = rest.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(id) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                rest.push(entry.path());
            }
        }
    }
    found
}

/// Programs of firn's that name the test's directory.
pub fn processes(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        // The keeper, which all monitors share, outlives the last of them for a moment.
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if ["firn-shim", "firn-network", "pasta", "slirp4netns"].iter().any(|program| line.contains(program))
            && line.contains(id)
            && name.trim() != "firn-keeper"
        {
            found.push(line.replace('\0', " "));
        }
    }
    found
}
