//! The container's output, with a real runtime.

mod common;

use common::{Fixture, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

/// A process's peak of resident memory in KiB.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn lines_with_time_stream_and_flag() {
    let fixture =
        Fixture::new("lines", "echo one; echo two >&2; until [ -e /data/go ]; do sleep 0.05; done; printf three");
    let monitor = fixture.start(&[]);
    until("both lines", || fixture.log().lines().count() == 2);
    fs::write(fixture.data("go"), "").unwrap();
    assert_eq!(monitor.end().code, Some(0));
    let log = fixture.log();
    let rests: Vec<&str> = log.lines().map(|line| &line[31..]).collect();
    assert!(log.lines().all(|line| line.as_bytes()[10] == b'T' && line.as_bytes()[29] == b'Z'), "{log}");
    assert!(rests.contains(&"stdout F one") && rests.contains(&"stderr F two"), "{log}");
    // Its line is closed, for it went without a newline.
    assert_eq!(rests[2..], ["stdout P three", "stdout F "]);
}

/// The lines of a log as a reader puts them together.
fn joined(log: &str) -> Vec<String> {
    let mut open = std::collections::BTreeMap::<&str, String>::new();
    let mut lines = Vec::new();
    for record in log.lines() {
        let [_, stream, flag, text] = record.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{record}") };
        let line = open.entry(stream).or_default();
        line.push_str(text);
        if flag == "F" {
            lines.push(std::mem::take(line));
        }
    }
    assert!(open.values().all(String::is_empty), "{open:?} is left open");
    lines
}

#[test]
fn a_line_does_not_run_on_into_the_next_start() {
    let script =
        "if [ -e /data/n ]; then echo fresh; else echo > /data/n; printf partial; printf error >&2; exit 1; fi";
    let fixture = Fixture::new("partial", script);
    let ended = fixture.run(&["--restart", "on-failure"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut lines = joined(&fixture.log());
    assert_eq!(lines.pop().as_deref(), Some("fresh"));
    lines.sort();
    assert_eq!(lines, ["error", "partial"]);
}

/// A monitor that is killed can't close it: the next one does.
#[test]
fn a_line_of_a_killed_monitor_is_closed_by_the_next() {
    let script =
        "if [ -e /data/n ]; then echo fresh; exit; fi; printf partial; echo > /data/n; while :; do sleep 9; done";
    let fixture = Fixture::new("partial-killed", script);
    let monitor = fixture.start(&[]);
    until("the part", || fixture.log().ends_with("stdout P partial\n"));
    fixture.wait_for("n");
    monitor.kill();
    assert_eq!(fixture.run(&[]).code, Some(0));
    assert_eq!(joined(&fixture.log()), ["partial", "fresh"]);
}

#[test]
fn a_flood_without_a_newline_stays_in_bounds() {
    let script = "head -c 268435456 /dev/zero; echo > /data/done; sleep 60";
    let fixture = Fixture::new("flood", script);
    let mut command = fixture.command(&["--log-size=1M", "--timeout-stop=1"]);
    command.stdout(Stdio::null());
    let monitor = common::Monitor::spawn(command);
    fixture.wait_for("done");
    let peak = peak(monitor.pid());
    assert!(peak < 8192, "peak of {peak} KiB");
    for name in ["log", "log.1"] {
        let mut size = 0;
        // The rest of the flood may be on its way still, and one file be moved for a new one.
        until(name, || fs::metadata(fixture.state(name)).map(|file| size = file.len()).is_ok());
        assert!(size <= 1 << 20, "{name} has {size} bytes");
    }
    monitor.signal(Signal::SIGINT);
    monitor.took(Signal::SIGINT);
    monitor.signal(Signal::SIGINT);
    let mut monitor = monitor;
    assert_eq!(monitor.wait(), Some(137));
    fixture.assert_clean();
}

#[test]
fn a_reader_that_sleeps_holds_the_writer_and_not_the_monitor() {
    let script = "trap 'exit 0' 37; (head -c 8388608 /dev/zero; echo > /data/done) & echo > /data/up; wait; while :; do sleep 0.1; done";
    let fixture = Fixture::new("pressure", script);
    let mut monitor = fixture.start(&["--log-size=0"]);
    fixture.wait_for("up");
    fixture.wait_for_blocked_writer();
    assert!(!fixture.data("done").exists(), "nobody has read, where is it all?");
    assert!(peak(monitor.pid()) < 8192);
    monitor.signal(Signal::SIGTERM);
    assert_eq!(monitor.wait(), Some(0));
    fixture.assert_clean();
}

#[test]
fn a_reader_that_is_gone_costs_only_its_copy() {
    let fixture = Fixture::new(
        "gone",
        "until [ -e /data/go ]; do sleep 0.05; done; for n in 1 2 3; do echo line $n; sleep 0.1; done",
    );
    let mut command = fixture.command(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut monitor = common::Monitor::spawn(command);
    drop(reader);
    fs::write(fixture.data("go"), "").unwrap();
    assert_eq!(monitor.wait(), Some(0));
    assert_eq!(fixture.log().lines().count(), 3);
}

/// The journal's end of a unit's output is a socket, which can't be reopened.
#[test]
fn into_a_socket() {
    let fixture = Fixture::new("socket", "for n in 1 2 3; do echo line $n; done");
    let mut command = fixture.command(&[]);
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    command.stdout(std::os::fd::OwnedFd::from(theirs));
    let mut monitor = common::Monitor::spawn(command);
    assert_eq!(monitor.wait(), Some(0));
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert_eq!(text, "line 1\nline 2\nline 3\n");
}

/// A socket whose reader goes while it is full must not keep the loop awake.
#[test]
fn a_full_socket_whose_reader_goes() {
    let script = "trap 'exit 0' 37; head -c 4194304 /dev/zero; echo > /data/done; while :; do sleep 0.1; done";
    let fixture = Fixture::new("hangup", script);
    let mut command = fixture.command(&[]);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    command.stdout(std::os::fd::OwnedFd::from(theirs));
    let mut monitor = common::Monitor::spawn(command);
    fixture.wait_for_blocked_writer();
    assert!(!fixture.data("done").exists());
    drop(ours);
    fixture.wait_for("done");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", monitor.pid())).unwrap();
        let fields: Vec<u64> = stat.split(' ').skip(13).take(2).map(|n| n.parse().unwrap()).collect();
        fields[0] + fields[1]
    };
    // An interval to measure, and nothing that is waited for.
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks() - before < 10, "the loop is hot");
    monitor.signal(Signal::SIGTERM);
    assert_eq!(monitor.wait(), Some(0));
    fixture.assert_clean();
}

/// As on a full disk: the container goes on without its log.
#[test]
fn a_log_that_takes_nothing() {
    let fixture = Fixture::new("full", "for n in 1 2 3; do echo line $n; sleep 0.1; done");
    let ended = fixture.run(&["--log=/dev/full"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "line 1\nline 2\nline 3\n");
    assert_eq!(ended.stderr.matches("write the log").count(), 1, "{}", ended.stderr);
}

/// The runtime's error names what the image calls its programs.
#[test]
fn errors_do_not_steer_the_terminal() {
    let mut fixture = Fixture::new("escapes", "");
    fixture.config["process"]["args"] = json!(["/no\x1b]0;title\x07\u{9b}31m\nfirn-shim: forged"]);
    let ended = fixture.run(&["--restart", "on-failure", "--start-limit", "2", "--start-limit-interval", "600"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let control = ended.stderr.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{:?}", ended.stderr);
    assert!(!ended.stderr.lines().any(|line| line.starts_with("firn-shim: forged")), "{}", ended.stderr);
}

#[test]
fn into_a_file() {
    let fixture = Fixture::new("file", "for n in 1 2 3; do echo line $n; done");
    let path = fixture.dir.join("out");
    let mut command = fixture.command(&[]);
    command.stdout(fs::File::create(&path).unwrap());
    assert_eq!(common::Monitor::spawn(command).wait(), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "line 1\nline 2\nline 3\n");
}

#[test]
fn a_log_elsewhere_is_appended_to() {
    let fixture = Fixture::new("log", "echo again");
    let path = fixture.dir.join("my.log");
    for _ in 0..2 {
        assert_eq!(fixture.run(&["--log", path.to_str().unwrap()]).code, Some(0));
    }
    assert_eq!(fs::read_to_string(&path).unwrap().matches("stdout F again").count(), 2);
}

#[test]
fn a_terminal() {
    let mut fixture = Fixture::new("terminal", "tty; [ -t 0 ] && [ -t 2 ] && echo yes; exit 4");
    fixture.config["process"]["terminal"] = json!(true);
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stdout.contains("/dev/") && ended.stdout.contains("yes\r\n"), "{ended:?}");
    assert!(fixture.log().contains("stdout F yes"), "{}", fixture.log());
    fixture.assert_clean();
}

/// systemd opens its console for each line.
#[test]
fn a_terminal_that_no_process_has_open_for_a_time() {
    let script = "exec </dev/null >/dev/null 2>&1; for n in 1 2; do sleep 0.2; echo line $n > /dev/console; done";
    let mut fixture = Fixture::new("console", script);
    fixture.config["process"]["terminal"] = json!(true);
    let ended = fixture.run(&[]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "line 1\r\nline 2\r\n"), "{ended:?}");
    assert!(fixture.log().contains("stdout F line 2"), "{}", fixture.log());
    fixture.assert_clean();
}

#[test]
fn a_terminal_across_restarts() {
    let script =
        "n=$(($(cat /data/n 2>/dev/null || echo 0) + 1)); echo $n > /data/n; echo run $n; [ $n = 3 ] || exit 133";
    let mut fixture = Fixture::new("terminals", script);
    fixture.config["process"]["terminal"] = json!(true);
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "run 1\r\nrun 2\r\nrun 3\r\n");
    fixture.assert_clean();
}

#[test]
fn the_terminal_of_the_caller_is_not_needed() {
    let fixture = Fixture::new("closed", "echo still here");
    let mut command = fixture.command(&[]);
    command.stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here\n");
    until("the end", || child.try_wait().unwrap().is_some());
}
