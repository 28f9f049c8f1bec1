//! The configs that are measured: podman's, as Debian's podman gives it to a
//! runtime, and that of `firn spec`, around a root whose programs are firn-floor.

use crate::view::View;
use serde_json::{Value, json};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A root, and what its configs bind from the host.
#[derive(Debug)]
pub struct Stand {
    directory: PathBuf,
    pub podman: Value,
    pub spec: Value,
}

impl Stand {
    /// Makes all of it in `directory`.
    pub fn make(directory: &Path, firn: &Path, floor: &Path) -> Result<Self> {
        let root = directory.join("rootfs");
        for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        for name in ["true", "sleep"] {
            std::fs::copy(floor, root.join("bin").join(name))?;
        }
        let spec = Command::new(firn).args(["spec", "--file", "-"]).output()?;
        let mut stand = Stand {
            podman: podman(&directory.join("podman"), &root)?,
            spec: serde_json::from_slice(&spec.stdout)?,
            directory: directory.to_owned(),
        };
        stand.spec["process"]["terminal"] = json!(false);
        // So that peers of an older specification take it too.
        stand.spec["ociVersion"] = json!("1.0.2");
        stand.podman["ociVersion"] = json!("1.0.2");
        stand.take_binds()?;
        for config in [&mut stand.podman, &mut stand.spec] {
            config["root"]["path"] = json!(root);
            let namespaces = config["linux"]["namespaces"].as_array_mut().ok_or(Error::other("no namespaces"))?;
            // podman makes the network namespace itself; here the runtime does.
            namespaces.iter_mut().filter_map(Value::as_object_mut).for_each(|namespace| drop(namespace.remove("path")));
        }
        Ok(stand)
    }

    /// What podman binds from its storage, from files of our own.
    fn take_binds(&mut self) -> Result<()> {
        let mounts = self.podman["mounts"].as_array_mut().ok_or(Error::other("no mounts"))?;
        for mount in mounts.iter_mut().filter(|mount| mount["type"] == "bind") {
            let target = mount["destination"].as_str().unwrap_or_default().to_owned();
            let source = self.directory.join("binds").join(target.trim_start_matches('/').replace('/', "-"));
            let place = self.directory.join("rootfs").join(target.trim_start_matches('/'));
            if target.starts_with("/dev/") {
                std::fs::create_dir_all(&source)?;
            } else {
                for file in [&source, &place] {
                    std::fs::create_dir_all(file.parent().unwrap_or(file))?;
                    std::fs::write(file, "127.0.0.1 localhost\n")?;
                }
            }
            mount["source"] = json!(source);
        }
        Ok(())
    }

    pub fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// `config` for a container of that name in a view.
    pub fn config(config: &Value, view: View, id: &str, args: &[&str]) -> Value {
        let mut config = config.clone();
        config["process"]["args"] = json!(args);
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        if view == View::V2 {
            // There podman gives a cgroup namespace, and limits need controllers.
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            if !namespaces.iter().any(|namespace| namespace["type"] == "cgroup") {
                namespaces.push(json!({"type": "cgroup"}));
            }
            if !controllers().contains("pids") {
                config["linux"]["resources"].as_object_mut().expect("resources").remove("pids");
            }
        }
        config
    }

    /// A bundle of that name.
    pub fn bundle(&self, name: &str, config: &Value) -> Result<PathBuf> {
        let path = self.directory.join("bundles").join(name);
        std::fs::create_dir_all(&path)?;
        std::fs::write(path.join("config.json"), config.to_string())?;
        Ok(path)
    }
}

/// Of cgroup v2.
fn controllers() -> String {
    let places = ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"];
    places.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
}

/// Runs podman with a runtime that keeps config.json and fails. Its directories, its
/// network and its /run are its own, so nothing of the machine's is used. (Nor may
/// the path of its run root be longer than 50 bytes.)
fn podman(directory: &Path, root: &Path) -> Result<Value> {
    for dir in ["storage", "networks", "home"] {
        std::fs::create_dir_all(directory.join(dir))?;
    }
    let (here, root) = (directory.display(), root.display());
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text);
    write(
        "runtime",
        format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n[ \"$1\" = --bundle ] && cp \"$2/config.json\" {here}\nshift\ndone\nexit 1\n"
        ),
    )?;
    write(
        "containers.conf",
        format!(
            "[containers]\ndefault_ulimits=[\"nofile=20000:20000\",\"nproc=30000:30000\"]\nlog_driver=\"k8s-file\"\n\
             [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\ntmp_dir=\"/run/tmp\"\n\
             [engine.runtimes]\ncopy=[\"{here}/runtime\"]\n[network]\nnetwork_config_dir=\"{here}/networks\"\n"
        ),
    )?;
    let storage = format!("[storage]\ndriver=\"vfs\"\ngraphroot=\"{here}/storage\"\nrunroot=\"/run/podman\"\n");
    write("storage.conf", storage)?;
    write("registries.conf", String::new())?;
    let script = format!(
        "ip link set lo up; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock; chmod 755 {here}/runtime\n\
         podman --root {here}/storage --runroot /run/podman --tmpdir /run/tmp --runtime copy \
         run --rm --rootfs {root} /bin/true"
    );
    let mut shell = Command::new("unshare");
    shell.args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script]).stdin(Stdio::null());
    shell.env("CONTAINERS_CONF", directory.join("containers.conf"));
    shell.env("CONTAINERS_STORAGE_CONF", directory.join("storage.conf"));
    shell.env("CONTAINERS_REGISTRIES_CONF", directory.join("registries.conf"));
    shell.env("HOME", directory.join("home")).env("XDG_RUNTIME_DIR", directory.join("home"));
    // podman fails, since its runtime does.
    let output = shell.output()?;
    let text = std::fs::read(directory.join("config.json")).map_err(|e| {
        Error::other(format!("podman gave no config.json ({e}): {}", String::from_utf8_lossy(&output.stderr)))
    })?;
    Ok(serde_json::from_slice(&text)?)
}
