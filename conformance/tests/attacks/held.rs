//! Processes that join, and that the container holds up: it can freeze its own cgroup,
//! and stop what it sees.

use firn_bench::view::View;
use firn_conformance::harness::{Bundle, Runtime, Scratch, command};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A container in one view of the machine's cgroups.
struct Held {
    firn: Runtime,
    view: View,
    /// Where it can be frozen, as the machine sees it.
    freezer: PathBuf,
}

impl Held {
    fn start(scratch: &Scratch, view: View) -> Self {
        let bundle = Bundle::new(scratch).shell("exec sleep 1000").write();
        let firn = Runtime::firn(scratch);
        let freezer = match view {
            View::V1 => Path::new("/sys/fs/cgroup/freezer").join(firn.id()),
            View::V2 => Path::new("/sys/fs/cgroup/unified").join(firn.id()),
        };
        let held = Held { firn, view, freezer };
        let path = bundle.path.to_str().unwrap();
        let run = held.command(&["run", "--detach", "--bundle", path, held.firn.id()]);
        let mut quiet = Command::new("sh");
        quiet.args(["-c", "exec \"$@\" >/dev/null 2>&1", "sh"]).arg(run.get_program()).args(run.get_args());
        command(&mut quiet).succeeds();
        held
    }

    fn command(&self, args: &[&str]) -> Command {
        let line = self.firn.command(args);
        let words: Vec<&OsStr> = [line.get_program()].into_iter().chain(line.get_args()).collect();
        self.view.command("", &words)
    }

    fn freeze(&self, frozen: bool) {
        let (file, value) = match (self.view, frozen) {
            (View::V1, true) => ("freezer.state", "FROZEN"),
            (View::V1, false) => ("freezer.state", "THAWED"),
            (View::V2, true) => ("cgroup.freeze", "1"),
            (View::V2, false) => ("cgroup.freeze", "0"),
        };
        std::fs::write(self.freezer.join(file), value).unwrap();
    }

    fn processes(&self) -> Vec<Pid> {
        let text = std::fs::read_to_string(self.freezer.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }

    fn init(&self) -> Pid {
        Pid::from_raw(self.firn.state()["pid"].as_i64().unwrap() as i32).unwrap()
    }

    /// An exec whose intermediate process is held up in the frozen cgroup.
    fn held_exec(&self) -> (Child, Pid) {
        let init = self.init();
        self.freeze(true);
        let mut exec = self.command(&["exec", "--ignore-paused", self.firn.id(), "true"]);
        let exec = exec.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut between = None;
        until("the intermediate process is in the cgroup", || {
            between = self.processes().into_iter().find(|pid| *pid != init);
            between.is_some()
        });
        (exec, between.unwrap())
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn ends(child: &mut Child, what: &str) {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: exec has not ended");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn views() -> impl Iterator<Item = View> {
    View::ALL.into_iter().filter(|view| view.is_possible() && Path::new("/sys/fs/cgroup/unified").exists())
}

#[test]
fn an_exec_that_is_held_up_can_be_interrupted() {
    for view in views() {
        for signal in [Signal::TERM, Signal::INT] {
            let scratch = Scratch::new("interrupt");
            let held = Held::start(&scratch, view);
            let (mut exec, _) = held.held_exec();
            kill_process(Pid::from_child(&exec), signal).unwrap();
            ends(&mut exec, view.name());
            held.freeze(false);
            until("what was held up has ended", || held.processes() == [held.init()]);
            command(&mut held.command(&["delete", "--force", held.firn.id()])).succeeds();
            held.firn.left_nothing();
        }
    }
}

/// With its container the reason to wait has gone.
#[test]
fn an_exec_that_is_held_up_ends_with_its_container() {
    for view in views() {
        let scratch = Scratch::new("goes");
        let held = Held::start(&scratch, view);
        let (mut exec, between) = held.held_exec();
        // Not by the freezer alone, so that the container's end does not wake it.
        kill_process(between, Signal::STOP).unwrap();
        held.freeze(false);
        kill_process(held.init(), Signal::KILL).unwrap();
        ends(&mut exec, view.name());
        command(&mut held.command(&["delete", "--force", held.firn.id()])).succeeds();
        held.firn.left_nothing();
    }
}

/// What was left in the cgroup, stopped and frozen, kept `delete --force` away for ever.
#[test]
fn a_container_with_an_exec_that_is_held_up_can_be_deleted() {
    for view in views() {
        for thaw in [false, true] {
            let scratch = Scratch::new("leftover");
            let held = Held::start(&scratch, view);
            let (mut exec, between) = held.held_exec();
            // Nobody is left who could clear it up.
            exec.kill().unwrap();
            exec.wait().unwrap();
            kill_process(between, Signal::STOP).unwrap();
            let init = held.init();
            if thaw {
                held.freeze(false);
                kill_process(init, Signal::KILL).unwrap();
                until("init has ended", || !held.processes().contains(&init));
                held.freeze(true);
                assert_eq!(held.processes(), [between], "{}", view.name());
            }
            command(&mut held.command(&["delete", "--force", held.firn.id()])).succeeds();
            held.firn.left_nothing();
        }
    }
}
