//! A tracer that never waits for what it traces: the parent is told of the end only
//! afterwards, ptrace(2). Here it is the test, where a container would be a process in
//! the same pid namespace.

use firn_conformance::harness::{Bundle, Runtime, Scratch, Terminal, wait_until};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn seize(pid: i32) {
    // SAFETY: PTRACE_SEIZE takes no memory of ours.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }, 0, "{}", std::io::Error::last_os_error());
}

/// What a tracer that means well does.
fn reap(pid: i32) {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
}

/// The exit status within a time that is enough for anybody.
#[track_caller]
fn code(child: &mut Child) -> i32 {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if begin.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it waits for a process that its tracer keeps");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The pid that a command has written down.
fn pid_in(path: &Path) -> i32 {
    let mut text = String::new();
    wait_until("the pid is written down", || {
        text = std::fs::read_to_string(path).unwrap_or_default();
        !text.is_empty()
    });
    text.trim().parse().unwrap()
}

/// A program that reads a line and ends with the status 7, in the foreground of each
/// kind: with the caller's pipes, with pipes of firn's where the caller has a terminal,
/// and with a terminal of its own.
#[test]
fn the_foreground_ends_with_a_process_that_its_tracer_keeps() {
    const SCRIPT: &str = "read line; exit 7";
    for verb in ["run", "exec"] {
        for (on_terminal, has_terminal) in [(false, false), (true, false), (true, true)] {
            let scratch = Scratch::new("traced");
            let firn = Runtime::firn(&scratch);
            let pid_file = scratch.join("pid");
            let script = if verb == "run" { SCRIPT } else { "exec sleep 1000" };
            let is_own = verb == "run" && has_terminal;
            let bundle = Bundle::new(&scratch).shell(script).set("/process/terminal", json!(is_own)).write();
            let mut line = firn.command(&[verb, "--pid-file"]);
            line.arg(&pid_file);
            if verb == "run" {
                line.arg("--bundle").arg(&bundle.path).arg(firn.id());
            } else {
                firn.create(&bundle).succeeds();
                firn.start().succeeds();
                line.args(has_terminal.then_some("-t")).args([firn.id(), "sh", "-c", SCRIPT]);
            }
            let (terminal, other) = Terminal::open();
            let stream = || match on_terminal {
                true => Stdio::from(other.try_clone().unwrap()),
                false => Stdio::null(),
            };
            line.stdin(if on_terminal { stream() } else { Stdio::piped() });
            let mut child = line.stdout(stream()).stderr(stream()).spawn().unwrap();
            let pid = pid_in(&pid_file);
            seize(pid);
            match child.stdin.take() {
                Some(mut pipe) => pipe.write_all(b"x\n").unwrap(),
                None => terminal.send("x\n"),
            }
            assert_eq!(code(&mut child), 7, "{verb}, on a terminal: {on_terminal}, with one: {has_terminal}");
            reap(pid);
            firn.call(&["delete", "--force", firn.id()]);
            firn.left_nothing();
        }
    }
}

/// The same of an init that is killed before it is ready.
#[test]
fn a_create_ends_with_an_init_that_its_tracer_keeps() {
    let scratch = Scratch::new("tracedinit");
    let firn = Runtime::firn(&scratch);
    let said = scratch.join("said");
    let script = format!("> {0}; exec sleep 1000", said.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let bundle = Bundle::new(&scratch).args(&["true"]).set("/hooks", json!({"createContainer": hook})).write();
    let mut line = firn.command(&["create", "--bundle"]);
    line.arg(&bundle.path).arg(firn.id());
    let errors = File::create(scratch.join("errors")).unwrap();
    let mut child = line.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    wait_until("the hook runs", || said.exists());
    // The hook is told the number that it sees.
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let pid: i32 = children.trim().parse().unwrap();
    assert!(pid > 1);
    seize(pid);
    // SAFETY: integers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(code(&mut child), 1);
    let error = std::fs::read_to_string(scratch.join("errors")).unwrap();
    assert!(error.contains("init ended before it was ready: it was killed"), "{error}");
    reap(pid);
    firn.left_nothing();
}
