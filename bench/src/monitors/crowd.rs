//! Containers under one kind of monitor, more and more of them.

use super::usage::Usage;
use crate::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For what was started to be there, and to be at rest.
const PATIENCE: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Firn,
    Conmon,
    Containerd,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Firn, Kind::Conmon, Kind::Containerd];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Firn => "firn-shim",
            Kind::Conmon => "conmon",
            Kind::Containerd => "containerd-shim-runc-v2",
        }
    }

    pub fn is_installed(self) -> bool {
        self == Kind::Firn || Path::new("/usr/bin").join(self.name()).exists()
    }
}

/// Grows through all levels, and measures at each.
pub fn grown(kind: Kind, scratch: &Path, levels: &[usize], mut tell: impl FnMut(Usage)) -> Result<()> {
    let mut crowd = Crowd::new(kind, scratch)?;
    let mut there = 0;
    for level in levels {
        while there < *level {
            crowd.add(there)?;
            there += 1;
        }
        std::thread::sleep(REST);
        let usage = Usage::measure(|program, _| program.file_name().is_some_and(|name| name == kind.name()))?;
        if usage.processes < *level as u64 {
            return Err(format!("{} of {level} monitors are there", usage.processes).into());
        }
        tell(usage);
    }
    Ok(())
}

struct Crowd {
    kind: Kind,
    scratch: PathBuf,
    config: Value,
    /// Kept, as they are in the foreground.
    monitors: Vec<Child>,
}

impl Crowd {
    fn new(kind: Kind, scratch: &Path) -> Result<Self> {
        for name in ["firn", "firn-shim", "firn-floor"] {
            std::fs::copy(std::env::current_exe()?.with_file_name(name), scratch.join(name))?;
        }
        let root = scratch.join("rootfs");
        for directory in ["bin", "dev", "proc"] {
            std::fs::create_dir_all(root.join(directory))?;
        }
        std::fs::copy(scratch.join("firn-floor"), root.join("bin/sleep"))?;
        let spec = Command::new(scratch.join("firn")).args(["spec", "--file", "-"]).output()?;
        let mut config: Value = serde_json::from_slice(&spec.stdout)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sleep"]);
        config["root"]["path"] = json!(root);
        config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]);
        config["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
        let crowd = Crowd { kind, scratch: scratch.to_owned(), config, monitors: Vec::new() };
        if kind == Kind::Containerd {
            crowd.start_containerd()?;
        }
        Ok(crowd)
    }

    fn add(&mut self, number: usize) -> Result<()> {
        let id = format!("bench-{number}");
        let bundle = self.scratch.join("bundles").join(&id);
        self.config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        std::fs::create_dir_all(&bundle)?;
        std::fs::write(bundle.join("config.json"), self.config.to_string())?;
        match self.kind {
            Kind::Firn => self.add_firn(&id, &bundle),
            Kind::Conmon => self.add_conmon(&id, &bundle),
            Kind::Containerd => self.add_containerd(&id, &bundle),
        }
    }

    fn add_firn(&mut self, id: &str, bundle: &Path) -> Result<()> {
        let mut shim = Command::new(self.scratch.join("firn-shim"));
        // What it says goes to a file: a thousand lines say nothing here.
        let said = std::fs::File::create(bundle.join("said"))?;
        shim.args(["run", "--id", id]).arg(bundle).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        self.monitors.push(shim.spawn()?);
        until(|| {
            let mut status = Command::new(self.scratch.join("firn-shim"));
            let output = status.args(["status", "--json", id]).output().ok()?;
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            (status["state"] == "running").then_some(())
        })
    }

    /// As podman starts it: it goes into the background when the container has been created.
    fn add_conmon(&mut self, id: &str, bundle: &Path) -> Result<()> {
        let runtime = self.scratch.join("firn");
        let pid_file = bundle.join("pid");
        let mut conmon = Command::new("conmon");
        conmon.args(["--api-version", "1", "-c", id, "-u", id, "-n", id, "-r"]).arg(&runtime);
        conmon.arg("-b").arg(bundle).arg("-p").arg(&pid_file);
        conmon.arg("-l").arg(format!("k8s-file:{}", bundle.join("log").display()));
        conmon.arg("--exit-dir").arg(bundle).arg("--socket-dir-path").arg(bundle);
        run(&mut conmon)?;
        until(|| pid_file.exists().then_some(()))?;
        run(Command::new(runtime).args(["start", id]))
    }

    fn ctr(&self, words: &[&str]) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.scratch.join("sock")).args(words);
        ctr
    }

    fn add_containerd(&self, id: &str, bundle: &Path) -> Result<()> {
        let mut ctr = self.ctr(&["run", "--detach", "--runc-binary"]);
        run(ctr.arg(self.scratch.join("firn")).arg("--config").arg(bundle.join("config.json")).arg(id))
    }

    fn start_containerd(&self) -> Result<()> {
        let config = self.scratch.join("containerd.toml");
        std::fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
        let log = std::fs::File::create(self.scratch.join("containerd.log"))?;
        let mut containerd = Command::new("containerd");
        containerd.arg("--config").arg(config).arg("--address").arg(self.scratch.join("sock"));
        containerd.arg("--root").arg(self.scratch.join("root")).arg("--state").arg("/run/containerd");
        // It ends with this process namespace.
        containerd.stdout(log.try_clone()?).stderr(log).spawn()?;
        until(|| self.ctr(&["version"]).output().is_ok_and(|output| output.status.success()).then_some(()))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn until(mut done: impl FnMut() -> Option<()>) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if done().is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("what was started is not there after 30 s".into())
}
