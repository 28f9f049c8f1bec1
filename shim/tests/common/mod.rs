//! A bundle around a static busybox, and a monitor that runs it with a real
//! runtime: `runc`, or what FIRN_TEST_RUNTIME names. All of it is removed when
//! the test is over, however it ends.
#![allow(dead_code)]

pub mod killed;

use firn_shim::control::client::Client;
use firn_shim::control::protocol::Request;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No step of any test takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn runtime() -> String {
    std::env::var("FIRN_TEST_RUNTIME").unwrap_or_else(|_| "runc".into())
}

/// The directory of one test.
pub struct Fixture {
    pub dir: PathBuf,
    pub id: String,
    pub config: Value,
}

impl Fixture {
    /// A bundle whose init is `script`, run by sh, with `/data` shared.
    pub fn new(name: &str, script: &str) -> Fixture {
        let id = format!("firn-shim-test-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        let root = dir.join("bundle/rootfs");
        for below in ["bin", "proc", "dev", "sys", "tmp", "run", "data"] {
            fs::create_dir_all(root.join(below)).unwrap();
        }
        fs::create_dir(dir.join("data")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        symlink("busybox", root.join("bin/sh")).unwrap();
        let mut fixture = Fixture { config: config(script), dir, id };
        fixture.config["linux"]["cgroupsPath"] = json!(format!("/{}", fixture.id));
        fixture
    }

    /// Makes this test's program the container's `/bin/inside`.
    pub fn with_helper(self) -> Fixture {
        let exe = std::env::current_exe().unwrap();
        let to = self.dir.join("bundle/rootfs/bin/inside");
        fs::copy(exe, &to).unwrap();
        self
    }

    pub fn with_roots(self, roots: Value) -> Fixture {
        let path = self.dir.join("bundle/firn.json");
        fs::write(&path, roots.to_string()).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        self
    }

    pub fn command(&self, options: &[&str]) -> Command {
        fs::write(self.dir.join("bundle/config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn-shim"));
        command.args(["run", "--runtime", &runtime(), "--id", &self.id]);
        command.arg("--runtime-root").arg(self.dir.join("runtime"));
        command.arg("--state-dir").arg(self.dir.join("state"));
        command.args(options).arg(self.dir.join("bundle"));
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the monitor to its end.
    pub fn run(&self, options: &[&str]) -> Ended {
        self.start(options).end()
    }

    pub fn start(&self, options: &[&str]) -> Monitor {
        Monitor::spawn(self.command(options))
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.dir.join("state").join(&self.id).join(name)
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join("data").join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.state("log")).unwrap_or_default()
    }

    pub fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.state("exit")).expect("exit record")).expect("JSON")
    }

    /// Waits until the container has made `/data/NAME`.
    pub fn wait_for(&self, name: &str) {
        until(&format!("/data/{name}"), || self.data(name).exists());
    }

    /// Waits until a process of the container sleeps in write(2), and goes on to.
    pub fn wait_for_blocked_writer(&self) {
        let writes = || -> Option<bool> {
            let init = fs::read_to_string(self.state("pid")).ok()?;
            let init = init.trim();
            let below = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
            let mut pids: Vec<String> = below.split_ascii_whitespace().map(Into::into).collect();
            for pid in pids.clone() {
                let deeper = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
                pids.extend(deeper.split_ascii_whitespace().map(Into::into));
            }
            let write = format!("{} ", nix::libc::SYS_write);
            Some(pids.iter().any(|pid| {
                let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
                call.starts_with(&write)
            }))
        };
        let mut in_a_row = 0;
        until("a writer that waits", || {
            in_a_row = if writes() == Some(true) { in_a_row + 1 } else { 0 };
            in_a_row == 40
        });
    }

    pub fn init_pid(&self) -> i32 {
        fs::read_to_string(self.state("pid")).unwrap().trim().parse().unwrap()
    }

    /// Asserts that only log and record are left of the container.
    pub fn assert_clean(&self) {
        let mut names: Vec<String> = fs::read_dir(self.state(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != "log" && name != "log.1");
        assert_eq!(names, ["exit"]);
        let left: Vec<_> = fs::read_dir(self.dir.join("runtime"))
            .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "the runtime still knows {left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.id), "mounts are left");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            // A name without a cgroup file system is none (crun 1.8 makes directories there).
            let cgroup = hierarchy.path().join(&self.id);
            let real = hierarchy.path().join("cgroup.procs").exists();
            assert!(!real || !cgroup.exists(), "{} is left", cgroup.display());
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A monitor that has taken the container over is no child of ours.
        if let Ok(Some(mut monitor)) = Client::connect(&self.dir.join("state"), &self.id) {
            let _ = monitor.call(Request::Subscribe).and_then(|_| monitor.call(Request::Kill));
            while let Ok(Some(_)) = monitor.next_event() {}
        }
        let _ = nix::mount::umount2(&self.state("init"), nix::mount::MntFlags::MNT_DETACH);
        if self.dir.join("runtime").join(&self.id).exists() {
            let _ = Command::new(runtime())
                .arg("--root")
                .arg(self.dir.join("runtime"))
                .args(["delete", "--force", &self.id])
                .status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A living monitor; killed if the test ends before it does.
pub struct Monitor {
    child: Child,
    began: Instant,
}

/// One that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Monitor {
    pub fn spawn(mut command: Command) -> Monitor {
        let began = Instant::now();
        let child = command.spawn().unwrap();
        Monitor { child, began }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// It and its children that are no runtime's or container's: the monitor's processes.
    pub fn family(&self) -> Vec<nix::unistd::Pid> {
        let exe = fs::read_link(format!("/proc/{}/exe", self.pid())).unwrap();
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap();
        let mut all = vec![self.pid()];
        all.extend(children.split_ascii_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
        all.retain(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|its| its == exe));
        all.into_iter().map(nix::unistd::Pid::from_raw).collect()
    }

    /// Waits until the signal has been taken, after which the same one can be sent again.
    pub fn took(&self, signal: nix::sys::signal::Signal) {
        until("the signal to be taken", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap().trim();
            u64::from_str_radix(pending, 16).unwrap() >> (signal as i32 - 1) & 1 == 0
        });
    }

    /// Its stdout, which is the caller's to read then.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Kills it without any notice.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and reads what it wrote meanwhile.
    pub fn end(mut self) -> Ended {
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                from.read_to_end(&mut text).unwrap();
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let stdout = read(Box::new(self.child.stdout.take().unwrap()));
        let stderr = read(Box::new(self.child.stderr.take().unwrap()));
        let code = self.wait();
        Ended { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap(), took: self.began.elapsed() }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end without reading anything.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("the monitor's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes as text.
pub fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `done`, by looking: a test may sleep.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command on the host to its end.
pub fn host(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// The letter of /proc/PID/stat.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn config(script: &str) -> Value {
    let caps = json!(["CAP_SYS_BOOT", "CAP_KILL", "CAP_DAC_OVERRIDE"]);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"},
            // Relative on purpose: it is so to the bundle.
            {"destination": "/data", "type": "bind", "source": "../data", "options": ["rbind"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
        },
    })
}
