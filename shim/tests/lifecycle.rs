//! Ends and what follows them, with a real runtime.

mod common;

use common::{Fixture, exists, killed, until};
use firn_shim::control::protocol::State;
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Counts the starts in /data/n, and does `then` with the number in `$n`.
fn counting(then: &str) -> String {
    format!("n=$(($(cat /data/n 2>/dev/null || echo 0) + 1)); echo $n > /data/n; {then}")
}

fn starts(fixture: &Fixture) -> String {
    fs::read_to_string(fixture.data("n")).unwrap().trim().to_owned()
}

/// busybox calls reboot(2), which in a pid namespace of its own ends only that.
/// Were the runtime to give us none, the machine would go down instead.
fn reboot(applet: &str) -> String {
    format!("[ $$ = 1 ] || exit 99; busybox {applet} -f; sleep 30")
}

#[test]
fn the_status_is_handed_on() {
    let fixture = Fixture::new("status", "echo out; echo err >&2; exit 3");
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_eq!(ended.stdout, "out\n");
    assert!(ended.stderr.contains("err\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("is ready ("), "{}", ended.stderr);
    let record = fixture.record();
    assert_eq!(record["status"], 3);
    assert_eq!(record["reason"], "failed");
    assert_eq!(record["exitCode"], 3);
    assert!(record["pid"].as_i64().is_some_and(|pid| pid > 1));
    assert!(record["startedAt"].as_str() < record["exitedAt"].as_str());
    fixture.assert_clean();
}

#[test]
fn a_clean_end() {
    let fixture = Fixture::new("clean", "exit 0");
    assert_eq!(fixture.run(&[]).code, Some(0));
    assert_eq!(fixture.record()["reason"], "exited");
    fixture.assert_clean();
}

#[test]
fn death_by_a_signal() {
    let fixture = Fixture::new("signal", "echo > /data/up; sleep 60");
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    let init = nix::unistd::Pid::from_raw(fixture.init_pid());
    nix::sys::signal::kill(init, Signal::SIGKILL).unwrap();
    let ended = monitor.end();
    assert_eq!(ended.code, Some(137), "{ended:?}");
    let record = fixture.record();
    assert_eq!((&record["signal"], &record["reason"]), (&json!(9), &json!("failed")));
    fixture.assert_clean();
}

#[test]
fn status_133_starts_it_again() {
    let fixture = Fixture::new("restart", &counting("echo run $n; [ $n = 3 ] || exit 133"));
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "run 1\nrun 2\nrun 3\n");
    assert_eq!(fixture.record()["restarts"], 2);
    // The log goes on across restarts.
    assert_eq!(fixture.log().lines().filter(|line| line.contains("stdout F run")).count(), 3);
    fixture.assert_clean();
}

#[test]
fn the_restart_status_of_firn_json() {
    let fixture =
        Fixture::new("roots", &counting("[ $n = 2 ] || exit 42")).with_roots(json!({"init": {"restartExitCode": 42}}));
    assert_eq!(fixture.run(&[]).code, Some(0));
    assert_eq!(starts(&fixture), "2");
    fixture.assert_clean();
}

#[test]
fn reboot_and_power_off() {
    let script = counting(&format!("[ $n = 3 ] && {{ {}; }}; {}", reboot("poweroff"), reboot("reboot")));
    let fixture = Fixture::new("reboot", &script);
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(starts(&fixture), "3");
    let record = fixture.record();
    assert_eq!((&record["signal"], &record["reason"]), (&json!(2), &json!("exited")));
    fixture.assert_clean();
}

#[test]
fn restarts_left_to_the_unit() {
    for (name, script) in [("unit-133", "exit 133"), ("unit-reboot", &reboot("reboot"))] {
        let fixture = Fixture::new(name, &counting(script));
        assert_eq!(fixture.run(&["--restart", "unit"]).code, Some(133), "{name}");
        assert_eq!(starts(&fixture), "1");
        assert_eq!(fixture.record()["reason"], "restart");
        fixture.assert_clean();
    }
}

#[test]
fn the_start_limit() {
    let fixture = Fixture::new("limit", &counting("exit 133"));
    let ended = fixture.run(&["--start-limit", "3", "--start-limit-interval=60"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("started 3 times within 60 s"), "{}", ended.stderr);
    assert_eq!(starts(&fixture), "3");
    assert_eq!(fixture.record()["reason"], "start-limit");
    fixture.assert_clean();
}

#[test]
fn failures_restart_only_on_request_and_with_a_pause() {
    let fixture = Fixture::new("on-failure", &counting("[ $n = 3 ] || exit 7"));
    let ended = fixture.run(&["--restart", "on-failure"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(starts(&fixture), "3");
    assert!(ended.stderr.contains("starting it again in 100 ms"), "{}", ended.stderr);
    assert!(ended.stderr.contains("starting it again in 200 ms"), "{}", ended.stderr);
    assert!(ended.took > Duration::from_millis(300));
    fixture.assert_clean();
}

#[test]
fn a_restart_takes_up_a_changed_bundle() {
    let script = "trap 'exit 0' 37; echo > /data/$WHICH; while :; do sleep 0.1; done";
    let mut fixture = Fixture::new("changed", script);
    fixture.config["process"]["env"] = json!(["PATH=/bin", "WHICH=first"]);
    let monitor = fixture.start(&[]);
    fixture.wait_for("first");
    fixture.config["process"]["env"] = json!(["PATH=/bin", "WHICH=second"]);
    fixture.command(&[]);
    monitor.signal(Signal::SIGHUP);
    fixture.wait_for("second");
    monitor.signal(Signal::SIGTERM);
    assert_eq!(monitor.end().code, Some(0));
    assert_eq!(fixture.record()["restarts"], 1);
    fixture.assert_clean();
}

#[test]
fn what_can_not_be_created_is_told_once() {
    let mut fixture = Fixture::new("no-exec", "");
    fixture.config["process"]["args"] = json!(["/no/such/program"]);
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(1));
    let text = ended.stderr.to_lowercase();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("firn-shim: error: container "), "{text}");
    assert!(text.contains("/no/such/program") && text.contains("no such file or directory"), "{text}");
    assert!(fixture.record()["error"].as_str().is_some_and(|error| error.contains("/no/such/program")));
    fixture.assert_clean();
}

#[test]
fn errors_before_any_container() {
    let fixture = Fixture::new("errors", "");
    let cases = [
        ("--restart=sometimes", "sometimes"),
        ("--log=/no/such/directory/log", "open /no/such/directory/log: no such file"),
        ("--log-size=big", "not a size"),
    ];
    for (option, expected) in cases {
        let ended = fixture.run(&[option]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.starts_with("firn-shim: error: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    let firn_json = fixture.dir.join("bundle/firn.json");
    for list in ["[]", r#"{"init":[133,true]}"#] {
        fs::write(&firn_json, list).unwrap();
        let ended = fixture.run(&[]);
        assert!(ended.code == Some(1) && ended.stderr.contains("is not a JSON object"), "{}", ended.stderr);
    }
    fs::write(&firn_json, "{}").unwrap();
    fs::set_permissions(&firn_json, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let ended = fixture.run(&[]);
    assert!(ended.stderr.contains("writable by nobody else"), "{}", ended.stderr);
}

#[test]
fn one_monitor_for_one_name() {
    let fixture = Fixture::new("twice", "trap 'exit 0' 37; echo > /data/up; while :; do sleep 0.1; done");
    let first = fixture.start(&[]);
    fixture.wait_for("up");
    let second = fixture.run(&[]);
    assert_eq!(second.code, Some(1));
    let expected = format!("another monitor runs it (process {})", first.pid());
    assert!(second.stderr.contains(&expected), "{}", second.stderr);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end().code, Some(0));
    fixture.assert_clean();
}

#[test]
fn a_killed_monitor_is_cleaned_up_after() {
    let fixture = Fixture::new("orphan", &counting("[ $n = 2 ] && exit 0; echo > /data/up; sleep 60"));
    let first = fixture.start(&[]);
    fixture.wait_for("up");
    let init = fixture.init_pid();
    first.kill();
    assert!(exists(init), "the container lives on");
    let second = fixture.run(&[]);
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(starts(&fixture), "2");
    until("the old init's end", || !exists(init));
    fixture.assert_clean();
}

/// A child that has been forked and has not yet executed anything holds copies of
/// all of the monitor's descriptors. It must not seem to be a monitor, nor become a
/// `create` that the next monitor doesn't know of.
#[test]
fn killed_between_a_fork_and_its_exec() {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::os::unix::process::CommandExt;
    for nth in 1..=3 {
        let fixture = Fixture::new(&format!("forked-{nth}"), "exit 0");
        let mut command = fixture.command(&[]);
        // SAFETY: ptrace(2) is a system call, and nothing is allocated.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        let first = common::Monitor::spawn(command);
        let monitor = Pid::from_raw(first.pid());
        let wait = |pid| waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(wait(monitor), WaitStatus::Stopped(..)));
        ptrace::setoptions(monitor, ptrace::Options::PTRACE_O_TRACEFORK).unwrap();
        ptrace::cont(monitor, None).unwrap();
        let mut forks = 0;
        let child = loop {
            match wait(monitor) {
                WaitStatus::PtraceEvent(..) => {
                    let child = Pid::from_raw(ptrace::getevent(monitor).unwrap().try_into().unwrap());
                    assert!(matches!(wait(child), WaitStatus::Stopped(..)));
                    forks += 1;
                    if forks == nth {
                        break child;
                    }
                    ptrace::detach(child, None).unwrap();
                    ptrace::cont(monitor, None).unwrap();
                }
                WaitStatus::Stopped(_, signal) => ptrace::cont(monitor, signal).unwrap(),
                other => panic!("{other:?} before fork {nth}"),
            }
        };
        first.kill();
        let second = fixture.run(&[]);
        ptrace::detach(child, None).unwrap();
        assert_eq!(second.code, Some(0), "fork {nth}: {second:?}");
        until("the end of what was forked", || !exists(child.as_raw()));
        fixture.assert_clean();
    }
}

#[test]
fn killed_at_any_moment() {
    let mut fixture = Fixture::new("killed", "sleep 60");
    // Moments, not waiting: each is as good as any other.
    for millis in [1, 3, 6, 10, 15, 20, 30, 40, 60] {
        let monitor = fixture.start(&[]);
        std::thread::sleep(Duration::from_millis(millis));
        monitor.kill();
    }
    fixture.config["process"]["args"][2] = json!("trap 'exit 0' 37; echo > /data/last; while :; do sleep 0.1; done");
    let mut monitor = fixture.start(&[]);
    common::until("the last start", || fixture.data("last").exists() || monitor.has_ended());
    if !monitor.has_ended() {
        monitor.signal(Signal::SIGTERM);
    }
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    fixture.assert_clean();
}

/// The same, with monitors that take over: each finds what another has just begun.
#[test]
fn killed_at_any_moment_and_taken_over() {
    let script = "trap 'exit 0' 37; echo > /data/up; while :; do sleep 0.05; done";
    let fixture = Fixture::new("killed-adopted", script);
    for millis in [1, 2, 4, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 65] {
        let monitor = fixture.start(&["--adopt"]);
        std::thread::sleep(Duration::from_millis(millis));
        monitor.kill();
    }
    let monitor = fixture.start(&["--adopt"]);
    // Once it speaks it has taken over, and a signal does not just end it.
    killed::until_state(&fixture, State::Running);
    monitor.signal(Signal::SIGTERM);
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    fixture.assert_clean();
}

/// A command of the runtime is killed while a hook holds it. Whatever it was, nothing is left.
#[test]
fn a_runtime_that_is_killed() {
    for (when, code) in [("prestart", Some(1)), ("poststart", Some(1)), ("poststop", Some(3))] {
        let mut fixture = Fixture::new(&format!("runtime-{when}"), "exit 3");
        let data = fixture.data("").display().to_string();
        // The second time it does not wait.
        let script = format!("[ -e {data}/hook ] && exit 0; touch {data}/hook; exec sleep 60");
        fixture.config["hooks"] = json!({when: [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]});
        let monitor = fixture.start(&[]);
        fixture.wait_for("hook");
        let command = fs::read_to_string(fixture.state("command")).unwrap();
        let pid = nix::unistd::Pid::from_raw(command.split(' ').next().unwrap().parse().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        let ended = monitor.end();
        assert_eq!(ended.code, code, "{when}: {ended:?}");
        if when == "prestart" && common::runtime().ends_with("runc") {
            // It records a container only after these hooks, and its `delete` knows nothing of a cgroup.
            for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
                let _ = fs::remove_dir(hierarchy.path().join(&fixture.id));
            }
            continue;
        }
        fixture.assert_clean();
    }
}

#[test]
fn out_of_memory() {
    let mut fixture = Fixture::new("oom", "exec tail /dev/zero");
    fixture.config["linux"]["resources"] = json!({"memory": {"limit": 16 << 20}});
    fixture.config["process"]["args"] = json!(["/bin/busybox", "tail", "/dev/zero"]);
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, Some(137), "{ended:?}");
    assert_eq!(fixture.record()["oomKilled"], true);
    fixture.assert_clean();
}

/// A careless caller: SIGCHLD ignored, and files left open.
#[test]
fn nothing_is_inherited() {
    let fixture = Fixture::new("inherited", "echo > /data/up; while [ ! -e /data/go ]; do sleep 0.1; done; exit 3");
    let monitor = fixture.command(&[]);
    let mut command = std::process::Command::new("sh");
    // Not the other way round: a shell undoes it.
    command.args(["-c", "exec env --ignore-signal=CHLD \"$@\" 7</etc", "sh"]);
    command.arg(monitor.get_program()).args(monitor.get_args());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let monitor = common::Monitor::spawn(command);
    fixture.wait_for("up");
    // The monitor closes descriptors of its own meanwhile.
    for fd in fs::read_dir(format!("/proc/{}/fd", monitor.pid())).unwrap().flatten() {
        assert_ne!(fs::read_link(fd.path()).ok().as_deref(), Some(Path::new("/etc")));
    }
    fs::write(fixture.data("go"), "").unwrap();
    let ended = monitor.end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    fixture.assert_clean();
}

/// A `create` goes on when its monitor is killed, and must not make its
/// container behind the back of the next one.
#[test]
fn killed_while_it_creates() {
    let mut fixture = Fixture::new("creating", "echo ran; exit 0");
    let dir = fixture.dir.display().to_string();
    let script = format!("echo > {dir}/hook; until [ -e {dir}/go ]; do sleep 0.05; done");
    fixture.config["hooks"] = json!({"prestart": [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]});
    let first = fixture.start(&[]);
    until("the hook", || fixture.dir.join("hook").exists());
    first.kill();
    fixture.config["hooks"] = json!({});
    let second = fixture.start(&[]);
    let pid = second.pid().to_string();
    until("the next monitor", || fs::read_to_string(fixture.state("lock")).is_ok_and(|text| text == pid));
    fs::write(fixture.dir.join("go"), "").unwrap();
    let second = second.end();
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "ran\n"), "{second:?}");
    fixture.assert_clean();
}
