//! Stops, with a real runtime.

mod common;

use common::Fixture;
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::Duration;

/// An init that runs `then` on the given signal.
fn init(signal: &str, then: &str) -> String {
    format!("trap '{then}' {signal}; echo > /data/up; while :; do sleep 0.1; done")
}

#[test]
fn a_stop_is_rtmin_3() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let fixture = Fixture::new(&format!("halt-{signal}"), &init("37", "echo halted; exit 0"));
        let monitor = fixture.start(&[]);
        fixture.wait_for("up");
        monitor.signal(signal);
        let ended = monitor.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout, "halted\n");
        assert_eq!(fixture.record()["reason"], "stopped");
        fixture.assert_clean();
    }
}

#[test]
fn the_image_names_the_signal() {
    for (name, signal, number) in [("a", "TERM", "15"), ("b", "SIGRTMIN+4", "38"), ("c", "12", "12")] {
        let mut fixture = Fixture::new(&format!("annotation-{name}"), &init(number, "exit 0"));
        fixture.config["annotations"] = json!({"org.opencontainers.image.stopSignal": signal});
        let monitor = fixture.start(&[]);
        fixture.wait_for("up");
        monitor.signal(Signal::SIGTERM);
        assert_eq!(monitor.end().code, Some(0), "{signal}");
        fixture.assert_clean();
    }
}

#[test]
fn a_stop_is_no_restart() {
    for (name, then) in [("133", "exit 133"), ("reboot", "[ $$ = 1 ] && busybox reboot -f; sleep 9")] {
        let fixture = Fixture::new(&format!("stop-{name}"), &init("37", then));
        let monitor = fixture.start(&["--restart", "always"]);
        fixture.wait_for("up");
        monitor.signal(Signal::SIGTERM);
        let ended = monitor.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(fixture.record()["reason"], "stopped");
        assert_eq!(fixture.record()["restarts"], 0);
        fixture.assert_clean();
    }
}

#[test]
fn a_stop_that_fails() {
    let fixture = Fixture::new("stop-status", &init("37", "exit 7"));
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    monitor.signal(Signal::SIGTERM);
    assert_eq!(monitor.end().code, Some(7));
    assert_eq!(fixture.record()["reason"], "failed");
    fixture.assert_clean();
}

#[test]
fn a_deaf_init_is_killed_after_its_time() {
    let fixture = Fixture::new("deaf", "echo > /data/up; sleep 60 & wait; sleep 60");
    let monitor = fixture.start(&["--timeout-stop=1"]);
    fixture.wait_for("up");
    monitor.signal(Signal::SIGTERM);
    monitor.signal(Signal::SIGTERM);
    let ended = monitor.end();
    assert_eq!(ended.code, Some(137), "{ended:?}");
    assert!(ended.took > Duration::from_secs(1));
    assert!(ended.stderr.contains("had to be killed"), "{}", ended.stderr);
    let record = fixture.record();
    assert_eq!((&record["signal"], &record["reason"]), (&json!(9), &json!("killed")));
    fixture.assert_clean();
}

#[test]
fn the_second_interrupt_kills() {
    let fixture = Fixture::new("interrupt", "echo > /data/up; sleep 60");
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    monitor.signal(Signal::SIGINT);
    monitor.took(Signal::SIGINT);
    monitor.signal(Signal::SIGINT);
    let ended = monitor.end();
    assert_eq!(ended.code, Some(137), "{ended:?}");
    assert!(ended.took < Duration::from_secs(20));
    assert_eq!(fixture.record()["reason"], "killed");
    fixture.assert_clean();
}

/// The kernel drops a signal for which a pid namespace's init has no handler.
#[test]
fn a_stop_before_the_handler_is_not_lost() {
    let script = "echo > /data/up; until [ -e /data/go ]; do sleep 0.05; done; \
                  trap 'exit 0' 37; while :; do sleep 0.1; done";
    let fixture = Fixture::new("early", script);
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    monitor.signal(Signal::SIGTERM);
    monitor.took(Signal::SIGTERM);
    std::fs::write(fixture.data("go"), "").unwrap();
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.took < Duration::from_secs(20));
    fixture.assert_clean();
}

#[test]
fn a_stop_while_it_is_created() {
    let mut fixture = Fixture::new("creating", "echo > /data/up; sleep 60");
    let dir = fixture.dir.display().to_string();
    let script = format!("echo > {dir}/hook; until [ -e {dir}/go ]; do sleep 0.05; done");
    fixture.config["hooks"] = json!({"prestart": [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]});
    let monitor = fixture.start(&[]);
    common::until("the hook", || fixture.dir.join("hook").exists());
    monitor.signal(Signal::SIGTERM);
    monitor.took(Signal::SIGTERM);
    std::fs::write(fixture.dir.join("go"), "").unwrap();
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!fixture.data("up").exists(), "its init must not have run");
    assert_eq!(fixture.record()["reason"], "stopped");
    fixture.assert_clean();
}

#[test]
fn a_create_that_hangs() {
    let mut fixture = Fixture::new("hangs", "echo > /data/up; sleep 60");
    fixture.config["hooks"] = json!({"prestart": [{"path": "/bin/busybox", "args": ["sleep", "55.5"]}]});
    let ended = fixture.run(&["--timeout-start=1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("not ready after 1 s"), "{}", ended.stderr);
    assert_eq!(fixture.record()["reason"], "start-timeout");
    let left = common::host("pgrep", &["-f", "sleep 55[.]5"]);
    assert!(left.stdout.is_empty(), "the hook is left");
    fixture.assert_clean();
}

#[test]
fn user_signals_are_the_container_s() {
    let fixture = Fixture::new("user", &init("USR1", "echo got it; exit 0"));
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    monitor.signal(Signal::SIGUSR1);
    let ended = monitor.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "got it\n"));
}

/// Without a pid namespace the stop signal's default action ends init, and what
/// init has left behind must go too.
#[test]
fn without_a_pid_namespace() {
    let mut fixture = Fixture::new("host-pid", "sleep 77.25 & echo $! > /data/pid; echo > /data/up; exec sleep 77.25");
    let namespaces = fixture.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    let left: i32 = std::fs::read_to_string(fixture.data("pid")).unwrap().trim().parse().unwrap();
    monitor.signal(Signal::SIGTERM);
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let record = fixture.record();
    assert_eq!((&record["signal"], &record["reason"]), (&json!(37), &json!("stopped")));
    common::until("the end of what init left", || !common::exists(left));
    fixture.assert_clean();
}
