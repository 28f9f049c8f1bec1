//! Root file systems and config.json.

use super::place::{binary, program};
use super::{Scratch, command};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fills `root` with a static busybox and a link for each of its commands.
pub fn busybox_root(root: &Path) {
    let busybox = program("busybox", "busybox-static");
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(dir)).expect("make a directory of the root");
    }
    std::fs::copy(&busybox, root.join("bin/busybox")).expect("copy busybox");
    let list = Command::new(&busybox).arg("--list").output().expect("ask busybox for its commands");
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(name)).expect("link a command");
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .expect("write passwd");
}

/// A bundle with the config of `firn spec`, changed by the test.
#[derive(Debug)]
pub struct Bundle {
    pub path: PathBuf,
    pub config: Value,
}

impl Bundle {
    /// With a busybox root, no terminal, and a cgroup of its own name.
    pub fn new(scratch: &Scratch) -> Self {
        let bundle = Self::bare(scratch, "bundle");
        busybox_root(&bundle.root());
        bundle
    }

    /// With an empty root.
    pub fn bare(scratch: &Scratch, name: &str) -> Self {
        let path = scratch.directory(name);
        std::fs::create_dir(path.join("rootfs")).expect("make the root");
        let spec = Command::new(binary("firn")).args(["spec", "--file", "-"]).output().expect("run firn spec");
        assert!(spec.status.success(), "firn spec failed: {}", String::from_utf8_lossy(&spec.stderr));
        let mut config: Value = serde_json::from_slice(&spec.stdout).expect("firn spec prints JSON");
        config["process"]["terminal"] = json!(false);
        // So that peers of an older specification take it too.
        config["ociVersion"] = json!("1.0.2");
        // Whatever version the machine's cgroups have.
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
        namespaces.push(json!({"type": "cgroup"}));
        config["linux"]["cgroupsPath"] = json!(format!("/{}", scratch.id()));
        Bundle { path, config }
    }

    /// The same root, and a config that can be changed by itself.
    pub fn new_of(other: &Bundle) -> Self {
        Bundle { path: other.path.clone(), config: other.config.clone() }
    }

    pub fn root(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// A shell script as the container's program.
    pub fn shell(mut self, script: &str) -> Self {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// Sets the value at a JSON pointer whose parents exist.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = self.config.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in the config"));
        match parent {
            Value::Array(list) if name == "-" => list.push(value),
            Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value,
            parent => parent[name] = value,
        }
        self
    }

    pub fn mount(self, mount: Value) -> Self {
        self.set("/mounts/-", mount)
    }

    pub fn without_namespace(mut self, kind: &str) -> Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Writes config.json.
    pub fn write(self) -> Self {
        let text = serde_json::to_string_pretty(&self.config).expect("JSON");
        std::fs::write(self.path.join("config.json"), text).expect("write config.json");
        self
    }
}

/// `firn-image bundle` in the scratch directory, with a cgroup of the test's own.
pub fn image_bundle(scratch: &Scratch, args: &[&str]) -> PathBuf {
    let path = scratch.join("bundle");
    let mut image = Command::new(binary("firn-image"));
    image.current_dir(scratch.path()).arg("bundle").arg("--force").arg("--output").arg(&path).args(args);
    command(&mut image).succeeds();
    let config = path.join("config.json");
    let text = std::fs::read_to_string(&config).expect("firn-image writes a config.json");
    let mut value: Value = serde_json::from_str(&text).expect("config.json is JSON");
    value["linux"]["cgroupsPath"] = json!(format!("/{}", scratch.id()));
    std::fs::write(&config, value.to_string()).expect("write config.json");
    path
}
