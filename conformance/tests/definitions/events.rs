//! What happens to containers, as it happens.

use crate::host::{Host, INIT};
use firn_conformance::harness::wait_until;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What a program prints. Its stdout is closed when nobody takes the lines.
fn lines_of(program: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    let stdout = BufReader::new(program.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    lines
}

/// `firnctl events`.
struct Events {
    firnctl: Child,
    lines: Receiver<String>,
}

impl Events {
    /// When it listens to those that run, of which it tells the state first.
    fn of(host: &Host, names: &[&str], running: usize) -> Self {
        let mut firnctl = host.spawn(&[&["events", "--json"], names].concat());
        let lines = lines_of(&mut firnctl);
        let mut events = Events { firnctl, lines };
        // What was before that is not told.
        wait_until("it watches", || {
            let inotify =
                std::fs::read_dir(format!("/proc/{}/fd", events.firnctl.id())).into_iter().flatten().flatten();
            inotify.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to.ends_with("anon_inode:inotify"))
        });
        for _ in 0..running {
            assert_eq!(events.next()["type"], "state");
        }
        events
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(Duration::from_secs(30)).expect("an event")).unwrap()
    }

    /// The events up to one of a type.
    #[track_caller]
    fn until(&mut self, last: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Value| event["type"] != last) {
            events.push(self.next());
        }
        events
    }

    /// Ends it by Ctrl-C.
    fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.firnctl);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(self.firnctl.wait().unwrap().success());
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn what_happens_is_told_in_its_order() {
    let host = Host::new("ctl-events");
    let (a, b) = (host.name("a"), host.name("b"));
    host.project(json!({"a": {}, "b": {}}));
    host.call(&["up", "--detach", "--only", &b, "firn.json"]).succeeds();
    let mut all = Events::of(&host, &[], 1);
    let mut of_b = Events::of(&host, &[&b], 1);
    // One that comes, and one that is there.
    host.call(&["start", &a]).succeeds();
    let events = all.until("ready");
    assert_eq!(types(&events), ["start", "init", "ready"]);
    assert!(events.iter().all(|event| event["name"] == json!(a) && event["time"].as_str().unwrap().ends_with('Z')));
    let status: Value = serde_json::from_str(&host.call(&["status", "--json", &a]).stdout).unwrap();
    assert_eq!(events[1]["pid"], status["pid"]);
    host.call(&["exec", &b, "sh", "-c", "exit 9"]);
    for events in [all.until("exec-exit"), of_b.until("exec-exit")] {
        assert_eq!(types(&events), ["exec", "exec-exit"]);
        assert_eq!((&events[0]["args"], &events[1]["status"]), (&json!(["sh", "-c", "exit 9"]), &json!(9)));
        assert_eq!(events[1]["name"], json!(b));
    }
    host.ask_for_restart("a");
    let events = all.until("ready");
    let restart: Vec<&str> = types(&events).into_iter().filter(|kind| !kind.starts_with("exec")).collect();
    assert_eq!(restart, ["exit", "restart", "start", "init", "ready"]);
    let exit = events.iter().find(|event| event["type"] == "exit").unwrap();
    assert_eq!((&exit["status"], &exit["oomKilled"]), (&json!(133), &json!(false)));
    host.call(&["stop", &a, &b]).succeeds();
    let mut downs = [all.until("down"), all.until("down")].concat();
    downs.retain(|event| event["name"] == json!(a));
    assert_eq!(types(&downs), ["stopping", "exit", "down"]);
    assert_eq!(downs[2]["reason"], "stopped");
    assert_eq!(types(&of_b.until("down")), ["stopping", "exit", "down"]);
    // Again, by another monitor.
    host.call(&["start", &a]).succeeds();
    assert_eq!(types(&all.until("ready")), ["start", "init", "ready"]);
    all.end();
    of_b.end();
    let mut text = host.spawn(&["events"]);
    let lines = lines_of(&mut text);
    host.leaves_nothing();
    let line = std::iter::from_fn(|| lines.recv_timeout(Duration::from_secs(30)).ok());
    let line = line.into_iter().find(|line| line.contains("down")).unwrap();
    assert!(line.ends_with(&format!("  {a}  down (killed)")), "{line}");
    text.kill().unwrap();
    text.wait().unwrap();
}

#[test]
fn memory_that_runs_out_is_told() {
    let host = Host::new("ctl-events-oom");
    host.init("root", INIT);
    host.project(json!({"a": {"memory": "24M"}}));
    host.call(&["create", "firn.json"]).succeeds();
    let mut events = Events::of(&host, &[&host.name("a")], 0);
    host.up();
    events.until("ready");
    // Not init: that goes on.
    host.call(&["exec", &host.name("a"), "sh", "-c", "x=x; while :; do x=$x$x; done"]).fails(137);
    let told = [events.until("oom")].concat();
    assert_eq!(told.last().unwrap()["name"], json!(host.name("a")));
    assert_eq!(host.status("a"), "up");
    events.end();
    host.leaves_nothing();
}

#[test]
fn events_that_nobody_reads_end() {
    let host = Host::new("ctl-events-pipe");
    host.project(json!({"a": {}}));
    host.up();
    let mut firnctl = host.spawn(&["events"]);
    let mut line = String::new();
    let mut stdout = BufReader::new(firnctl.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("  state running (pid "), "{line}");
    drop(stdout);
    host.exec("a", &["true"]);
    wait_until("it has ended", || firnctl.try_wait().unwrap().is_some());
    assert!(firnctl.wait().unwrap().success());
    host.leaves_nothing();
}
