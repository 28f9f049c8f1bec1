//! Monitors that are killed, keepers, and what is left in the log.

use super::{Fixture, state, text_of, until};
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{Request, State, Status};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output, Stdio};

pub fn command(fixture: &Fixture, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn-shim"));
    command.arg(verb).arg("--state-dir").arg(fixture.dir.join("state")).arg(&fixture.id);
    command.stdin(Stdio::null());
    command
}

pub fn adopt(fixture: &Fixture) -> Output {
    command(fixture, "adopt").output().unwrap()
}

/// Has it taken over, which must succeed.
pub fn adopted(fixture: &Fixture) {
    let output = adopt(fixture);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
}

pub fn connect(fixture: &Fixture) -> Option<Client> {
    Client::connect(&fixture.dir.join("state"), &fixture.id).unwrap()
}

pub fn status(fixture: &Fixture) -> Option<Status> {
    connect(fixture)?.call(Request::Status).ok()?.0.status.map(|status| *status)
}

pub fn until_state(fixture: &Fixture, wanted: State) -> Status {
    let mut found = None;
    until(wanted.name(), || {
        found = status(fixture).filter(|status| status.state == wanted);
        found.is_some()
    });
    found.unwrap()
}

pub fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    until("the end of what was killed", || matches!(state(pid), None | Some('Z')));
}

pub fn kill_monitor(fixture: &Fixture) {
    kill(status(fixture).expect("a monitor").monitor_pid.try_into().unwrap());
}

/// The keeper, once it holds what must outlive the monitor.
pub fn keeper(fixture: &Fixture) -> i32 {
    let wanted = fixture.dir.join("state").display().to_string();
    let mut found = None;
    until("a keeper that holds", || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        found = pids.into_iter().find(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.split('\0').collect();
            let holds = || {
                let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
                let spool = "/memfd:firn-shim-spool";
                fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.to_string_lossy().starts_with(spool))
            };
            words.get(1) == Some(&"keep") && words.contains(&wanted.as_str()) && holds()
        });
        found.is_some()
    });
    found.unwrap()
}

pub fn go(fixture: &Fixture) {
    fs::write(fixture.data("go"), "").unwrap();
}

pub fn stop(fixture: &Fixture) -> Option<i32> {
    command(fixture, "stop").status().unwrap().code()
}

pub fn record(fixture: &Fixture) -> Value {
    until("the exit record", || fixture.state("exit").exists() && !fixture.state("record").exists());
    fixture.record()
}

/// The lines of a stream in the log, as a reader puts them together.
pub fn logged(fixture: &Fixture, wanted: &str) -> Vec<String> {
    let (mut lines, mut open) = (Vec::new(), String::new());
    for record in fixture.log().lines() {
        let [_, stream, flag, text] = record.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{record:?}") };
        if stream == wanted {
            open.push_str(text.trim_end_matches('\r'));
            if flag == "F" {
                lines.push(std::mem::take(&mut open));
            }
        }
    }
    assert_eq!(open, "", "a line that is not ended");
    lines
}

/// Counts on stdout, and every hundredth number on stderr, until it is to stop.
pub const COUNTS: &str = "trap '' 37; touch /data/up; n=0; \
    until [ -e /data/go ]; do \
        for i in 0 1 2 3 4 5 6 7 8 9; do for j in 0 1 2 3 4 5 6 7 8 9; do n=$((n+1)); echo line $n; done; done; \
        echo $n >&2; \
    done; echo $n > /data/n; exit 7";

/// Waits for the monitor's end.
pub fn assert_only_log_and_record(fixture: &Fixture) {
    until("the monitor's end", || !fixture.state("lock").exists());
    fixture.assert_clean();
}
