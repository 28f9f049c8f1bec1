//! Log drivers, with a real runtime.

mod common;

use common::{Fixture, Monitor, text_of, until};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

fn json_lines(text: &str) -> Vec<(String, String)> {
    let record = |line: &str| -> (String, String) {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(record["time"].as_str().unwrap().ends_with('Z'), "{line}");
        (record["stream"].as_str().unwrap().into(), record["log"].as_str().unwrap().into())
    };
    text.lines().map(record).collect()
}

#[test]
fn several_drivers_at_once() {
    let script = "echo one; printf 'a \"b\"' >&2; sleep 0.1; printf '\\377\\n' >&2; printf end";
    let fixture = Fixture::new("drivers", script);
    let ended = fixture.run(&["--log-driver", "json-file", "--log-driver", "k8s-file"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let of = |stream: &str, log: &str| (stream.to_owned(), log.to_owned());
    let mut lines = json_lines(&fixture.log());
    lines.sort();
    let mut wanted = vec![
        of("stdout", "one\n"),
        of("stderr", "a \"b\""),
        of("stderr", "\u{fffd}\n"),
        of("stdout", "end"),
        // The last line is ended.
        of("stdout", "\n"),
    ];
    wanted.sort();
    assert_eq!(lines, wanted);
    let other = fs::read(fixture.state("log.k8s")).unwrap();
    let other = text_of(&other);
    for part in [" stdout F one\n", " stderr P a \"b\"\n", " stdout P end\n", " stdout F \n"] {
        assert!(other.contains(part), "{other}");
    }
}

#[test]
fn none_is_no_file() {
    let fixture = Fixture::new("log-none", "echo one");
    let ended = fixture.run(&["--log-driver", "none"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "one\n"));
    assert!(!fixture.state("log").exists());
    assert!(fixture.state("exit").exists());
}

#[test]
fn so_many_old_files_are_kept() {
    let script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done";
    let fixture = Fixture::new("log-files", script);
    let ended = fixture.run(&["--log-size", "4K", "--log-files", "2"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let read = |name: &str| fs::read_to_string(fixture.state(name)).unwrap_or_default();
    let all = [read("log.2"), read("log.1"), read("log")].concat();
    assert!(all.ends_with("line 299\n"), "{all}");
    assert!(read("log.1").len() <= 4096 && read("log.2").len() <= 4096);
    assert_eq!(read("log.3"), "");
    // Nothing between is lost.
    let numbers: Vec<u32> = all.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.len() > 150 && numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");
}

#[test]
fn a_log_that_was_moved_is_opened_anew() {
    let script = "trap 'exit 0' 37; echo before; touch /data/up; until [ -e /data/go ]; do sleep 0.01; done; \
                  echo after; touch /data/written; while :; do sleep 0.05; done";
    let fixture = Fixture::new("log-reopen", script);
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    until("the first line", || fixture.log().contains("before"));
    fs::rename(fixture.state("log"), fixture.state("log.moved")).unwrap();
    let mut reopen = Command::new(env!("CARGO_BIN_EXE_firn-shim"));
    reopen.args(["reopen-logs", "--state-dir"]).arg(fixture.dir.join("state")).arg(&fixture.id);
    assert_eq!(reopen.status().unwrap().code(), Some(0));
    fs::write(fixture.data("go"), "").unwrap();
    fixture.wait_for("written");
    until("the second line", || fixture.log().contains("after"));
    assert!(!fixture.log().contains("before"));
    monitor.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(monitor.end().code, Some(0));
}

#[test]
fn the_journal_gets_each_line() {
    let fixture = Fixture::new("journal", "echo one; printf two >&2");
    fs::create_dir(fixture.dir.join("journal")).unwrap();
    let journal = UnixDatagram::bind(fixture.dir.join("journal/socket")).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // In a mount namespace where that is the journal's socket.
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
    let inner = fixture.command(&["--log-driver", "journald", "--log-driver", "k8s-file"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(fixture.dir.join("journal"));
    command.arg(inner.get_program()).args(inner.get_args()).env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Monitor::spawn(command).end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut buffer = [0; 4096];
    let mut got: Vec<String> = Vec::new();
    for _ in 0..3 {
        let count = journal.recv(&mut buffer).unwrap();
        got.push(text_of(&buffer[..count]));
    }
    got.sort_by_key(|datagram| datagram.contains("PRIORITY\n\x01\0\0\0\0\0\0\x003"));
    assert!(got[0].contains("MESSAGE\n\x03\0\0\0\0\0\0\0one\n"), "{got:?}");
    assert!(got[0].contains(&format!("CONTAINER_NAME\n{}", char::from(fixture.id.len() as u8))), "{got:?}");
    assert!(got[1].contains("CONTAINER_PARTIAL_MESSAGE") && got[1].contains("two\n"), "{got:?}");
    assert!(got[2].contains("MESSAGE\n\0\0\0\0\0\0\0\0\n"), "{got:?}");
    assert!(fixture.log().contains("stdout F one"));
}
