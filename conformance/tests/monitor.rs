//! The demo's steps as assertions: firn-shim over firn over bundles of
//! firn-image's, and a Debian with systemd as the container.

use firn_conformance::harness::bundle::image_bundle as bundle;
use firn_conformance::harness::place::cgroup_view_allows_systemd;
use firn_conformance::harness::{Scratch, binary, command, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

struct Monitor {
    child: Child,
    lines: BufReader<ChildStderr>,
    state: PathBuf,
    runtime_root: PathBuf,
    id: String,
}

impl Monitor {
    fn start(scratch: &Scratch, bundle: &Path, options: &[&str]) -> Self {
        let (state, runtime_root, id) = (scratch.join("monitors"), scratch.join("runtime"), scratch.id());
        let mut shim = Command::new(binary("firn-shim"));
        shim.arg("run").arg(bundle).args(["--id", &id]).arg("--state-dir").arg(&state);
        shim.arg("--runtime").arg(binary("firn")).arg("--runtime-root").arg(&runtime_root).args(options);
        let log = std::fs::File::create(scratch.join("stdout")).unwrap();
        let mut child = shim.stdin(Stdio::null()).stdout(log).stderr(Stdio::piped()).spawn().expect("run firn-shim");
        let lines = BufReader::new(child.stderr.take().unwrap());
        Monitor { child, lines, state, runtime_root, id }
    }

    #[track_caller]
    fn says(&mut self, words: &str) {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the monitor ended without {words:?}: {all}");
            all += &line;
            if line.contains(words) {
                return;
            }
        }
    }

    fn firn(&self, args: &[&str]) -> firn_conformance::harness::Output {
        command(Command::new(binary("firn")).arg("--root").arg(&self.runtime_root).args(args))
    }

    fn exec(&self, args: &[&str]) -> String {
        self.firn(&[&["exec", &self.id], args].concat()).succeeds().stdout
    }

    fn signal(&self, name: &str) {
        command(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string())).succeeds();
    }

    /// Waits for the end; the exit status and the exit record.
    fn ends(mut self) -> (i32, Value) {
        let status = self.child.wait().unwrap().code().expect("an exit status");
        let record = std::fs::read_to_string(self.state.join(&self.id).join("exit")).expect("an exit record");
        let state: Vec<_> = std::fs::read_dir(&self.runtime_root).into_iter().flatten().collect();
        assert!(state.is_empty(), "the runtime's state stayed: {state:?}");
        assert!(firn_conformance::harness::left::cgroups(&self.id).is_empty(), "a cgroup stayed");
        (status, serde_json::from_str(&record).unwrap())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.firn(&["delete", "--force", &self.id]);
        }
    }
}

/// The demo's two layers.
fn layers(scratch: &Scratch) {
    scratch.directory("base/bin");
    std::fs::copy(binary("firn-inside"), scratch.join("base/bin/firn-inside")).unwrap();
    scratch.directory("top/etc");
    scratch.write("top/etc/motd", "from the upper layer\n");
}

const STARTS: [&str; 3] = ["--", "/bin/firn-inside", "starts"];

#[track_caller]
fn started(monitor: &Monitor, times: &str) {
    let mut output = String::new();
    wait_until("the program has started", || {
        output = monitor.firn(&["exec", &monitor.id, "/bin/firn-inside", "cat", "/starts"]).stdout;
        !output.is_empty()
    });
    assert_eq!(output, times);
}

#[test]
fn ready_exec_restart_on_a_fresh_root_and_stop() {
    let scratch = Scratch::new("demo");
    layers(&scratch);
    let path = bundle(&scratch, &[&["--layer", "base", "--layer", "top"], STARTS.as_slice()].concat());
    let mut monitor = Monitor::start(&scratch, &path, &[]);
    monitor.says("is ready");
    assert_eq!(monitor.exec(&["/bin/firn-inside", "cat", "/etc/motd"]), "from the upper layer\n");
    started(&monitor, "1\n");
    monitor.firn(&["kill", &monitor.id, "RTMIN+5"]).succeeds();
    monitor.says("status 133; starting it again");
    monitor.says("is ready");
    started(&monitor, "1\n");
    monitor.signal("TERM");
    let (status, record) = monitor.ends();
    assert_eq!(status, 0);
    assert_eq!((&record["reason"], &record["restarts"], &record["status"]), (&json!("stopped"), &json!(1), &json!(0)));
    assert!(record["readyAt"].is_string());
}

#[test]
fn a_kept_root_survives_the_restart() {
    let scratch = Scratch::new("keptroot");
    layers(&scratch);
    let upper = scratch.directory("upper").to_string_lossy().into_owned();
    let path = bundle(&scratch, &[&["--layer", "base", "--upper", &upper], STARTS.as_slice()].concat());
    let mut monitor = Monitor::start(&scratch, &path, &[]);
    monitor.says("is ready");
    started(&monitor, "1\n");
    monitor.firn(&["kill", &monitor.id, "39"]).succeeds();
    monitor.says("starting it again");
    monitor.says("is ready");
    started(&monitor, "2\n");
    monitor.signal("TERM");
    assert_eq!(monitor.ends().0, 0);
}

#[test]
fn a_programs_own_status_and_its_133() {
    let scratch = Scratch::new("ownstatus");
    layers(&scratch);
    let path = bundle(&scratch, &["--layer", "base", "--", "/bin/firn-inside", "exit", "7"]);
    let (status, record) = Monitor::start(&scratch, &path, &[]).ends();
    assert_eq!((status, &record["reason"]), (7, &json!("failed")));
    std::fs::remove_dir_all(&path).unwrap();
    let path = bundle(&scratch, &["--layer", "base", "--", "/bin/firn-inside", "exit", "133"]);
    let (status, _) = Monitor::start(&scratch, &path, &["--restart", "unit"]).ends();
    assert_eq!(status, 133);
    // Without a unit it is started anew, until the start limit.
    let (status, record) =
        Monitor::start(&scratch, &path, &["--start-limit", "3", "--start-limit-interval", "600"]).ends();
    assert_eq!((status, &record["reason"]), (1, &json!("start-limit")));
    assert_eq!(record["restarts"], 2);
}

fn debian_bundle(scratch: &Scratch) -> PathBuf {
    let root = std::env::var_os("FIRN_DEBIAN_ROOT").expect("FIRN_DEBIAN_ROOT: `cargo xtask test` makes that root");
    bundle(scratch, &["--layer", &PathBuf::from(root).to_string_lossy(), "--notify"])
}

#[test]
fn systemd_boots_to_ready_reboots_and_halts() {
    assert!(cgroup_view_allows_systemd(), "this machine's /sys/fs/cgroup has no hierarchy that systemd could use");
    let scratch = Scratch::new("systemd");
    let path = debian_bundle(&scratch);
    let mut monitor = Monitor::start(&scratch, &path, &[]);
    monitor.says("is ready");
    // READY comes when the boot's last job is done, a moment before that shows.
    let state = monitor.firn(&["exec", &monitor.id, "systemctl", "is-system-running", "--wait"]).stdout;
    assert_eq!(state, "running\n", "{}", monitor.exec(&["systemctl", "--failed", "--no-pager"]));
    assert!(monitor.exec(&["cat", "/proc/1/comm"]).starts_with("systemd"));
    assert_eq!(monitor.exec(&["systemd-detect-virt", "--container"]), "container-other\n");
    monitor.firn(&["exec", &monitor.id, "systemctl", "reboot"]);
    monitor.says("SIGHUP; starting it again");
    monitor.says("is ready");
    monitor.signal("TERM");
    let (status, record) = monitor.ends();
    assert_eq!((status, &record["reason"], &record["restarts"]), (0, &json!("stopped"), &json!(1)));
}

#[test]
fn systemd_that_powers_off_is_a_clean_stop() {
    let scratch = Scratch::new("poweroff");
    let path = debian_bundle(&scratch);
    let mut monitor = Monitor::start(&scratch, &path, &[]);
    monitor.says("is ready");
    monitor.firn(&["exec", &monitor.id, "systemctl", "poweroff"]);
    let (status, record) = monitor.ends();
    assert_eq!((status, &record["restarts"]), (0, &json!(0)));
}
