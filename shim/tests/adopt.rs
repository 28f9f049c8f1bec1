//! A monitor that is killed, and the one that takes over from it, with a real runtime. No byte of the
//! container's output may be missing, or be there twice.
//!
//! FIRN_TEST_KILLS: how often the writers' monitors are killed, 20 times by default.

mod common;

use common::killed::{
    COUNTS, adopt, adopted, assert_only_log_and_record, command, connect, go, keeper, kill, kill_monitor, logged,
    record, status, stop, until_state,
};
use common::{Fixture, exists, state, until};
use firn_shim::control::protocol::{ExecProcess, Request, State};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

/// Waits for the signal to stop.
const WAITS: &str = "trap 'exit 0' 37; touch /data/up; while :; do sleep 0.05; done";

fn kills() -> u64 {
    std::env::var("FIRN_TEST_KILLS").map_or(20, |number| number.parse().unwrap())
}

/// Kills monitors and keepers while the container writes, and lets it end with a monitor, without one,
/// or with neither.
fn no_byte_is_lost(name: &str, terminal: bool) {
    let mut fixture = Fixture::new(name, COUNTS);
    fixture.config["process"]["terminal"] = json!(terminal);
    let options = ["--log-size", "0"];
    let mut first = fixture.command(&options);
    first.stdout(Stdio::null()).stderr(Stdio::null());
    let first = common::Monitor::spawn(first);
    fixture.wait_for("up");
    let init = fixture.init_pid();
    keeper(&fixture);
    first.kill();
    for n in 0..kills() {
        adopted(&fixture);
        // Any moment is as good as another: in the middle of taking over, or of a flood.
        std::thread::sleep(Duration::from_micros(n * 1733 % 16_000));
        if n % 5 == 4 {
            let keeper = keeper(&fixture);
            kill(keeper);
            // The monitor gives another one all of it.
            assert_ne!(common::killed::keeper(&fixture), keeper);
        }
        kill_monitor(&fixture);
        assert!(exists(init) && state(init) != Some('Z'), "the container lives on");
    }
    go(&fixture);
    until("init's end, or a full pipe", || {
        fixture.data("n").exists()
            || fs::read_to_string(format!("/proc/{init}/syscall")).is_ok_and(|call| call.starts_with("1 "))
    });
    adopted(&fixture);
    let record = record(&fixture);
    assert_eq!((&record["status"], &record["pid"]), (&json!(7), &json!(init)), "{record}");
    let last: usize = fs::read_to_string(fixture.data("n")).unwrap().trim().parse().unwrap();
    let is_line = |line: &String| line.starts_with("line");
    let lines: Vec<String> = logged(&fixture, "stdout").into_iter().filter(is_line).collect();
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {}", index + 1), "of {last}");
    }
    assert_eq!(lines.len(), last);
    let stream = if terminal { "stdout" } else { "stderr" };
    let hundreds: Vec<String> = logged(&fixture, stream).into_iter().filter(|line| !is_line(line)).collect();
    let expected: Vec<String> = (1..=last / 100).map(|hundred| (hundred * 100).to_string()).collect();
    assert_eq!(hundreds, expected);
    assert_only_log_and_record(&fixture);
}

#[test]
fn no_byte_is_lost_on_a_pipe() {
    no_byte_is_lost("pipe", false);
}

#[test]
fn no_byte_is_lost_on_a_terminal() {
    no_byte_is_lost("pty", true);
}

#[test]
fn a_log_that_is_rotated_goes_on() {
    let script = "touch /data/up; n=0; until [ -e /data/go ]; do n=$((n+1)); echo line $n; done; echo $n > /data/n";
    let fixture = Fixture::new("rotated", script);
    let mut first = fixture.command(&["--log-size", "20K", "--log-files", "2"]);
    first.stdout(Stdio::null()).stderr(Stdio::null());
    let first = common::Monitor::spawn(first);
    fixture.wait_for("up");
    keeper(&fixture);
    first.kill();
    for n in 0..10 {
        adopted(&fixture);
        std::thread::sleep(Duration::from_micros(n * 1733 % 16_000));
        kill_monitor(&fixture);
    }
    go(&fixture);
    adopted(&fixture);
    record(&fixture);
    let last: usize = fs::read_to_string(fixture.data("n")).unwrap().trim().parse().unwrap();
    let old = |n: u32| fs::read_to_string(fixture.state(&format!("log.{n}"))).unwrap_or_default();
    let (mut lines, mut open) = (Vec::new(), String::new());
    for record in (old(2) + &old(1) + &fixture.log()).lines() {
        let [_, _, flag, text] = record.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{record:?}") };
        open.push_str(text);
        if flag == "F" {
            lines.push(std::mem::take(&mut open));
        }
    }
    // The first one may be the rest of a line.
    let numbers = lines[1..].iter().map(|line| line.strip_prefix("line ").unwrap().parse::<usize>().unwrap());
    let numbers: Vec<usize> = numbers.collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&last));
}

/// It ended with status 7 while nobody was there.
#[test]
fn an_end_without_a_monitor_is_known() {
    let script = "touch /data/up; until [ -e /data/go ]; do sleep 0.01; done; echo last words; exit 7";
    for keeper_too in [false, true] {
        let fixture = Fixture::new(&format!("ended-{keeper_too}"), script);
        let first = fixture.start(&[]);
        fixture.wait_for("up");
        let (init, keeper) = (fixture.init_pid(), keeper(&fixture));
        first.kill();
        if keeper_too {
            // Init's pidfd is mounted.
            kill(keeper);
        }
        go(&fixture);
        until("init's end", || matches!(state(init), None | Some('Z')));
        adopted(&fixture);
        let record = record(&fixture);
        if keeper_too {
            // Its output is lost, and killed it by SIGPIPE perhaps.
            assert!(record["status"] == 7 || record["signal"] == 13, "{record}");
        } else {
            assert_eq!((&record["status"], &record["reason"]), (&json!(7), &json!("failed")), "{record}");
            assert_eq!(logged(&fixture, "stdout"), ["last words"]);
        }
        assert_only_log_and_record(&fixture);
    }
}

#[test]
fn an_end_after_the_monitor_was_replaced_is_known() {
    let script = "touch /data/up; until [ -e /data/go ]; do sleep 0.01; done; exit 7";
    let fixture = Fixture::new("ends", script);
    let first = fixture.start(&[]);
    fixture.wait_for("up");
    keeper(&fixture);
    first.kill();
    adopted(&fixture);
    let found = until_state(&fixture, State::Running);
    assert_eq!(found.pid, Some(fixture.init_pid()));
    go(&fixture);
    assert_eq!(record(&fixture)["status"], 7);
    assert_only_log_and_record(&fixture);
}

#[test]
fn what_there_is_not_to_take_over() {
    let fixture = Fixture::new("nothing", WAITS);
    assert_eq!(adopt(&fixture).status.code(), Some(3));
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    let pid = until_state(&fixture, State::Running).monitor_pid;
    adopted(&fixture);
    assert_eq!(status(&fixture).unwrap().monitor_pid, pid);
    assert_eq!(stop(&fixture), Some(0));
    assert_eq!(monitor.end().code, Some(0));
    assert_eq!(adopt(&fixture).status.code(), Some(3));
    assert_only_log_and_record(&fixture);
}

/// Nothing that an earlier boot has left is taken for this one's.
#[test]
fn a_reboot_leaves_nothing_to_take_over() {
    let fixture = Fixture::new("reboot", "[ -e /data/up ] && exit 0; touch /data/up; sleep 60");
    let first = fixture.start(&[]);
    fixture.wait_for("up");
    keeper(&fixture);
    first.kill();
    let mut record: Value = serde_json::from_slice(&fs::read(fixture.state("record")).unwrap()).unwrap();
    record["boot"] = json!("00000000-0000-0000-0000-000000000000");
    fs::write(fixture.state("record"), record.to_string()).unwrap();
    let output = adopt(&fixture);
    assert_eq!(output.status.code(), Some(3));
    assert!(common::text_of(&output.stderr).contains("the host was rebooted since"));
    // By a power failure.
    fs::write(fixture.state("record"), &record.to_string()[..100]).unwrap();
    assert_eq!(adopt(&fixture).status.code(), Some(3));
    assert_eq!(fixture.run(&["--adopt"]).code, Some(0));
    assert_only_log_and_record(&fixture);
}

/// Hooks hold the runtime's commands.
fn hook(fixture: &Fixture, name: &str) -> Value {
    let dir = fixture.dir.join("data").display().to_string();
    let script = format!("touch {dir}/hook; until [ -e {dir}/go ]; do sleep 0.01; done");
    json!({name: [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]})
}

#[test]
fn killed_while_it_is_created() {
    let mut fixture = Fixture::new("creating", WAITS);
    fixture.config["hooks"] = hook(&fixture, "prestart");
    let first = fixture.start(&[]);
    fixture.wait_for("hook");
    first.kill();
    go(&fixture);
    adopted(&fixture);
    let found = until_state(&fixture, State::Running);
    assert_eq!(found.restarts, 0);
    fixture.wait_for("up");
    assert_eq!(stop(&fixture), Some(0));
    assert_only_log_and_record(&fixture);
}

#[test]
fn killed_while_it_is_started() {
    let script = "trap 'exit 0' 37; echo once >> /data/starts; while :; do sleep 0.05; done";
    let mut fixture = Fixture::new("starting", script);
    // Of runc's create; of firn's start, after the program has begun.
    fixture.config["hooks"] = hook(&fixture, "poststart");
    let first = fixture.start(&[]);
    fixture.wait_for("hook");
    first.kill();
    go(&fixture);
    adopted(&fixture);
    until_state(&fixture, State::Running);
    fixture.wait_for("starts");
    assert_eq!(stop(&fixture), Some(0));
    assert_eq!(fs::read_to_string(fixture.data("starts")).unwrap(), "once\n");
    assert_only_log_and_record(&fixture);
}

/// Notifies READY=1.
#[test]
#[ignore = "is run by containers"]
fn inside() {
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"READY=1", std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
}

#[test]
fn killed_while_it_boots() {
    let script = "trap 'exit 0' 37; touch /data/up; until [ -e /data/go ]; do sleep 0.01; done; \
        /bin/inside inside --exact --ignored --quiet >/dev/null; while :; do sleep 0.05; done";
    for sent_between in [false, true] {
        let fixture = Fixture::new(&format!("booting-{sent_between}"), script).with_helper();
        let first = fixture.start(&["--notify", "yes"]);
        fixture.wait_for("up");
        until_state(&fixture, State::Booting);
        keeper(&fixture);
        first.kill();
        if !sent_between {
            adopted(&fixture);
            until_state(&fixture, State::Booting);
        }
        go(&fixture);
        adopted(&fixture);
        let found = until_state(&fixture, State::Running);
        assert!(found.ready_at.is_some());
        assert_eq!(stop(&fixture), Some(0));
        assert_only_log_and_record(&fixture);
    }
}

#[test]
fn killed_while_it_stops() {
    let script = "trap 'touch /data/hook; until [ -e /data/go ]; do sleep 0.01; done; exit 133' 37; \
        touch /data/up; while :; do sleep 0.05; done";
    let fixture = Fixture::new("stopping", script);
    let first = fixture.start(&[]);
    fixture.wait_for("up");
    until_state(&fixture, State::Running);
    first.signal(nix::sys::signal::Signal::SIGTERM);
    fixture.wait_for("hook");
    first.kill();
    adopted(&fixture);
    until_state(&fixture, State::Stopping);
    go(&fixture);
    let record = record(&fixture);
    assert_eq!(
        (&record["reason"], &record["status"], &record["exitCode"]),
        (&json!("stopped"), &json!(133), &json!(0))
    );
    assert_only_log_and_record(&fixture);
}

#[test]
fn killed_while_it_is_deleted() {
    let mut fixture = Fixture::new("deleting", "echo words; exit 7");
    fixture.config["hooks"] = hook(&fixture, "poststop");
    let first = fixture.start(&[]);
    fixture.wait_for("hook");
    first.kill();
    go(&fixture);
    adopted(&fixture);
    let record = record(&fixture);
    assert_eq!((&record["reason"], &record["status"]), (&json!("failed"), &json!(7)), "{record}");
    assert_eq!(logged(&fixture, "stdout"), ["words"]);
    assert_only_log_and_record(&fixture);
}

#[test]
fn killed_before_a_restart() {
    let script = "n=$(($(cat /data/n 2>/dev/null || echo 0) + 1)); echo $n > /data/n; [ $n = 6 ] && exit 0; exit 1";
    let fixture = Fixture::new("restarting", script);
    let first = fixture.start(&["--restart", "on-failure", "--start-limit", "0"]);
    let mut restarts = 0;
    until("a long pause", || {
        let found = status(&fixture).filter(|status| status.state == State::Restarting);
        restarts = found.map_or(0, |status| status.restarts);
        restarts == 3
    });
    first.kill();
    adopted(&fixture);
    let record = record(&fixture);
    assert_eq!((&record["reason"], &record["restarts"]), (&json!("exited"), &json!(5)), "{record}");
    assert_only_log_and_record(&fixture);
}

/// As a unit's ExecStart=, once more.
#[test]
fn run_takes_over_too() {
    let fixture = Fixture::new("unit", WAITS);
    let manager = UnixDatagram::bind(fixture.dir.join("manager")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let start = || {
        let mut command = fixture.command(&["--adopt", "--restart", "unit"]);
        command.env("NOTIFY_SOCKET", fixture.dir.join("manager"));
        let monitor = common::Monitor::spawn(command);
        let mut text = [0; 64];
        let count = manager.recv(&mut text).unwrap();
        assert_eq!(&text[..count], b"READY=1");
        monitor
    };
    let first = start();
    fixture.wait_for("up");
    let init = until_state(&fixture, State::Running).pid;
    keeper(&fixture);
    first.kill();
    let second = start();
    assert_eq!(until_state(&fixture, State::Running).pid, init);
    second.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = second.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("taken over from a monitor that was killed, running"), "{ended:?}");
    assert_only_log_and_record(&fixture);
}

/// The stdin of the container stays open, and has an end when the client says so.
#[test]
fn the_input_outlives_the_monitor() {
    let script = "touch /data/up; cat > /data/typed; exit 5";
    let fixture = Fixture::new("input", script);
    let first = fixture.start(&["--stdin"]);
    fixture.wait_for("up");
    keeper(&fixture);
    first.kill();
    adopted(&fixture);
    let mut attach = command(&fixture, "attach");
    let mut attach = attach.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut attach.stdin.take().unwrap(), b"words\n").unwrap();
    assert_eq!(attach.wait().unwrap().code(), Some(5));
    assert_eq!(fs::read_to_string(fixture.data("typed")).unwrap(), "words\n");
    assert_only_log_and_record(&fixture);
}

/// A process of a client lives on with its streams; how it ends nobody learns.
#[test]
fn a_clients_process_outlives_the_monitor() {
    let fixture = Fixture::new("exec", WAITS);
    let first = fixture.start(&[]);
    fixture.wait_for("up");
    keeper(&fixture);
    let mut client = connect(&fixture).unwrap();
    let script = "until [ -e /data/go ]; do sleep 0.01; done; echo still here";
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let (_, streams) = client.call(Request::Exec(ExecProcess { args, ..ExecProcess::default() })).unwrap();
    let mut exec = command(&fixture, "exec");
    let exec = exec.args(["sh", "-c", &format!("echo begun; {script}")]);
    let mut exec = exec.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Then it has its streams, and not only a process that runs.
    let mut begun = [0; 6];
    std::io::Read::read_exact(exec.stdout.as_mut().unwrap(), &mut begun).unwrap();
    assert_eq!(&begun, b"begun\n");
    first.kill();
    assert_eq!(client.next_event().unwrap(), None);
    adopted(&fixture);
    go(&fixture);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(streams.into_iter().next().unwrap()), &mut text).unwrap();
    assert_eq!(text, "still here\n");
    let output = exec.wait_with_output().unwrap();
    assert_eq!((output.status.code(), common::text_of(&output.stdout).as_str()), (Some(125), "still here\n"));
    assert!(common::text_of(&output.stderr).contains("its monitor has ended"));
    assert_eq!(stop(&fixture), Some(0));
    assert_only_log_and_record(&fixture);
}
