//! Pods and their containers.

use crate::node::{IMAGE, Node, RUNTIME_ROOT, has_systemd, runtime_binary};
use firn_conformance::harness::left::cgroups;
use firn_conformance::harness::{Output, command};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub struct Pod<'a> {
    node: &'a Node,
    runtime: &'static str,
    pub id: String,
    config: Value,
    /// The name of its cgroup, or its slice.
    cgroup: String,
}

impl<'a> Pod<'a> {
    /// A pod that runs; `context` is its security context.
    pub fn run(node: &'a Node, runtime: &'static str, context: &Value) -> Self {
        let (name, cgroup) = (node.pod(runtime), node.cgroup(runtime));
        // Where the node's namespaces are the pod's, a name or a sysctl would be the node's.
        let of_node = context["namespace_options"]["network"] == "NODE";
        let config = json!({
            "metadata": {"name": name, "uid": name, "namespace": "firn"},
            "hostname": if of_node { "" } else { "the-pod" },
            "log_directory": node.scratch.join(&format!("logs-{runtime}")),
            "linux": {
                "security_context": context,
                "cgroup_parent": if has_systemd() { cgroup.clone() } else { format!("/{cgroup}") },
                "sysctls": if of_node { json!({}) } else { json!({"kernel.shm_rmid_forced": "1"}) },
            },
        });
        let request = json!({"config": config, "runtime_handler": runtime});
        let answer = node.client.call("RunPodSandbox", &request);
        let pod = Pod { node, runtime, id: text(&answer["pod_sandbox_id"]), config, cgroup };
        assert_eq!(pod.state_of(&pod.id), "running");
        assert!(!cgroups(&pod.cgroup).is_empty(), "it has no cgroup {}", pod.cgroup);
        pod
    }

    /// What the runtime itself says of a container; the other would not know it.
    pub fn state_of(&self, id: &str) -> String {
        let mut state = Command::new(runtime_binary(self.runtime));
        let output = command(state.args(["--root", RUNTIME_ROOT, "state", id])).succeeds();
        text(&serde_json::from_str::<Value>(&output.stdout).expect("state prints JSON")["status"])
    }

    pub fn status(&self) -> Value {
        self.node.client.call("PodSandboxStatus", &json!({"pod_sandbox_id": self.id}))["status"].clone()
    }

    /// A container that is created. `change` is laid over its config.
    pub fn create(&self, name: &str, command: &[&str], change: Value) -> Container<'_> {
        let mut config = json!({
            "metadata": {"name": name}, "image": {"image": IMAGE}, "command": command, "log_path": name,
        });
        config.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap_or_default());
        let request = json!({"pod_sandbox_id": self.id, "config": config, "sandbox_config": self.config});
        let answer = self.node.client.call("CreateContainer", &request);
        Container { pod: self, name: name.to_owned(), id: text(&answer["container_id"]) }
    }

    /// A container that runs.
    pub fn start(&self, name: &str, command: &[&str], change: Value) -> Container<'_> {
        let container = self.create(name, command, change);
        container.call("StartContainer", json!({}));
        container
    }

    /// A container that runs a script.
    pub fn shell(&self, name: &str, script: &str) -> Container<'_> {
        self.start(name, &["sh", "-c", script], json!({}))
    }

    /// Stops and removes it; of its containers those that are left go with it.
    #[track_caller]
    pub fn remove(self) {
        let request = json!({"pod_sandbox_id": self.id});
        self.node.client.call("StopPodSandbox", &request);
        self.node.client.call("RemovePodSandbox", &request);
        self.left_nothing();
    }

    #[track_caller]
    fn left_nothing(&self) {
        let of_node = self.node.scratch.path().to_string_lossy();
        // A shim ends by itself after its last answer.
        until(|| !shims(self.node).contains(&self.id), || format!("a shim stayed: {}", shims(self.node)));
        let state = entries(Path::new(RUNTIME_ROOT));
        assert!(state.is_empty(), "state stayed: {state:?}");
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("read mountinfo");
        let mounts: Vec<_> = mounts.lines().filter(|line| line.contains(&*of_node)).collect();
        assert!(mounts.is_empty(), "mounts stayed: {mounts:?}");
        // The pod's own cgroup is the kubelet's to remove.
        for dir in cgroups(&self.cgroup) {
            let below = || entries(&dir).into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
            until(|| below().is_empty(), || format!("cgroups stayed: {:?}", below()));
            let processes = std::fs::read_to_string(dir.join("cgroup.procs")).expect("read cgroup.procs");
            assert_eq!(processes, "", "processes stayed");
            if !has_systemd() {
                std::fs::remove_dir(&dir).unwrap_or_else(|e| panic!("remove {}: {e}", dir.display()));
            }
        }
        if has_systemd() {
            command(Command::new("systemctl").args(["stop", &self.cgroup])).succeeds();
        }
    }
}

/// Waits until it is so; `what` says what is wrong if it never is.
#[track_caller]
fn until(ready: impl Fn() -> bool, what: impl Fn() -> String) {
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < Duration::from_secs(100), "{}", what());
        // Asking costs as much as what is waited for, where the processor is emulated.
        std::thread::sleep((begin.elapsed() / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)));
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn shims(node: &Node) -> String {
    let socket = node.scratch.join("containerd.sock").to_string_lossy().into_owned();
    let lines = command(Command::new("ps").args(["-e", "-w", "-w", "-o", "args"])).succeeds().stdout;
    lines
        .lines()
        .filter(|line| line.contains("shim") && line.contains(&socket))
        .map(|line| format!("{line}\n"))
        .collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

pub struct Container<'a> {
    pub pod: &'a Pod<'a>,
    name: String,
    pub id: String,
}

impl Container<'_> {
    fn request(&self, more: Value) -> Value {
        let mut request = json!({"container_id": self.id});
        request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        request
    }

    #[track_caller]
    pub fn call(&self, method: &str, more: Value) -> Value {
        self.pod.node.client.call(method, &self.request(more))
    }

    pub fn fails(&self, method: &str, more: Value) -> String {
        let answer = self.pod.node.client.try_call(method, &self.request(more));
        answer.expect_err(&format!("{method} succeeds"))
    }

    /// `ExecSync`.
    #[track_caller]
    pub fn exec(&self, script: &str) -> Output {
        let answer = self.call("ExecSync", json!({"cmd": ["sh", "-c", script]}));
        let code = answer["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("a status");
        Output { code, stdout: text(&answer["stdout"]), stderr: text(&answer["stderr"]) }
    }

    pub fn status(&self) -> Value {
        self.call("ContainerStatus", json!({}))["status"].clone()
    }

    /// Its status when it has ended.
    #[track_caller]
    pub fn ended(&self) -> Value {
        until(|| self.status()["state"] == "EXITED", || format!("it does not end: {}", self.status()));
        self.status()
    }

    /// Its log, without the times.
    pub fn log(&self) -> Vec<String> {
        let path = Path::new(self.pod.config["log_directory"].as_str().unwrap()).join(&self.name);
        let text = std::fs::read_to_string(path).expect("read the log");
        text.lines().map(|line| line.split_once(' ').unwrap_or_default().1.to_owned()).collect()
    }

    /// Waits until it has said so.
    #[track_caller]
    pub fn says(&self, words: &str) {
        let said = || self.log().iter().any(|line| line.ends_with(words));
        until(said, || format!("no {words:?} in {:?}", self.log()));
    }

    pub fn remove(self) {
        self.call("RemoveContainer", json!({}));
        self.fails("ContainerStatus", json!({}));
    }
}
