//! SCMP_ACT_NOTIFY: the agent at listenerPath gets the filter's descriptor and
//! answers the container's calls.

use firn::internals::sys::seccomp_agent::{receive_notification, respond};
use firn_conformance::harness::descriptors::receive;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// ENOMEDIUM: no kernel says this of a directory.
const OWN_ERROR: i32 = 123;
const OWN_TEXT: &str = "No medium found";

/// Takes whatever comes to its socket, and answers in the background: mkdir
/// fails, all else goes on. Tells what it was told of each container.
fn agent(path: &Path) -> Receiver<Value> {
    let listener = UnixListener::bind(path).unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (state, filter) = state_and_filter(socket.unwrap());
            std::thread::spawn(move || serve(&filter));
            if tell.send(state).is_err() {
                return;
            }
        }
    });
    told
}

fn state_and_filter(socket: impl AsFd) -> (Value, OwnedFd) {
    let (text, mut fds) = receive(socket);
    assert_eq!(fds.len(), 1);
    (serde_json::from_str(&text).unwrap(), fds.remove(0))
}

fn serve(filter: &OwnedFd) {
    let directories = [libc::SYS_mkdir, libc::SYS_mkdirat].map(|number| number as i32);
    loop {
        let mut fds = [PollFd::new(filter, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        if fds[0].revents().contains(PollFlags::HUP) {
            return;
        }
        // Its caller may be gone by now.
        let Ok(call) = receive_notification(filter.as_fd()) else { continue };
        let _ = respond(filter.as_fd(), &call, directories.contains(&call.number).then_some(OWN_ERROR));
    }
}

fn profile(scratch: &Scratch, calls: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": scratch.join("agent.sock"),
        "listenerMetadata": "of this test",
        "syscalls": [{ "names": calls, "action": "SCMP_ACT_NOTIFY" }],
    })
}

fn bundle(scratch: &Scratch, script: &str) -> Bundle {
    let profile = profile(scratch, &["mkdir", "mkdirat"]);
    Bundle::new(scratch).shell(script).set("/linux/seccomp", profile).set("/annotations", json!({"a": "b"})).write()
}

fn next(told: &Receiver<Value>) -> Value {
    told.recv_timeout(Duration::from_secs(10)).expect("the agent was told nothing")
}

/// Lines of what the container says of its `mkdir /tmp/x`.
fn refused(text: &str) -> bool {
    text.contains(OWN_TEXT)
}

#[test]
fn an_agent_answers_the_calls_of_init_and_of_exec() {
    let scratch = Scratch::new("notify");
    let firn = Runtime::firn(&scratch);
    let told = agent(&scratch.join("agent.sock"));
    let bundle = bundle(&scratch, "mkdir /tmp/x; exec sleep 1000");
    firn.create(&bundle).succeeds();
    // Before `start`, as under runc.
    let first = next(&told);
    firn.start().succeeds();
    let pid = firn.state()["pid"].clone();
    let state = json!({
        "ociVersion": "1.0.2", "id": firn.id(), "status": "creating", "pid": pid, "bundle": bundle.path,
        "annotations": {"a": "b"},
    });
    let whole = json!({
        "ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": pid, "metadata": "of this test", "state": state,
    });
    assert_eq!(first, whole);
    let output = firn.exec(&["mkdir", "/tmp/y"]).fails(1);
    assert!(refused(&output.stderr), "{}", output.stderr);
    let second = next(&told);
    assert_eq!((&second["state"]["pid"], &second["state"]["status"]), (&pid, &json!("running")));
    assert_ne!(second["pid"], pid);
    assert!(!bundle.root().join("tmp/x").exists());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn an_agent_is_told_the_same_by_runc() {
    let scratch = Scratch::new("notify-same");
    let told = agent(&scratch.join("agent.sock"));
    let bundle = bundle(&scratch, "mkdir /tmp/x");
    let names = |value: &Value| -> BTreeMap<String, bool> {
        value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.is_string())).collect()
    };
    let mut seen = Vec::new();
    for runtime in [Runtime::new(program("runc", "runc"), &scratch), Runtime::firn(&scratch)] {
        let output = runtime.run(&bundle).fails(1);
        assert!(refused(&output.stderr), "{}", output.stderr);
        let state = next(&told);
        seen.push((names(&state), names(&state["state"]), state["state"]["status"].clone()));
    }
    assert_eq!(seen[0], seen[1], "runc's first, then firn's");
}

/// Whatever init itself has to call once its filter is in.
#[test]
fn no_call_on_the_way_to_the_program_waits_for_ever() {
    let scratch = Scratch::new("notify-all");
    let firn = Runtime::firn(&scratch);
    let told = agent(&scratch.join("agent.sock"));
    let calls = [
        "execve",
        "capset",
        "close",
        "close_range",
        "read",
        "sendmsg",
        "sendto",
        "recvfrom",
        "recvmsg",
        "futex",
        "mmap",
        "munmap",
        "brk",
        "exit",
        "exit_group",
        "clone",
        "clone3",
        "nanosleep",
        "clock_nanosleep",
        "rt_sigaction",
        "sched_yield",
        "prctl",
        "madvise",
    ];
    for no_new_privileges in [true, false] {
        let bundle = Bundle::new(&scratch).shell("echo here");
        let bundle = bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let bundle = bundle.set("/linux/seccomp", profile(&scratch, &calls)).write();
        assert_eq!(firn.run(&bundle).succeeds().stdout, "here\n");
        next(&told);
        firn.left_nothing();
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
}

/// They are programs of the container's, and have its rights.
#[test]
fn start_hooks_run_under_the_filter() {
    let scratch = Scratch::new("notify-hook");
    let firn = Runtime::firn(&scratch);
    let told = agent(&scratch.join("agent.sock"));
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "mkdir /tmp/x 2>/dev/shm/said; true"]});
    let bundle = bundle(&scratch, "cat /dev/shm/said").set("/hooks", json!({"startContainer": [hook]})).write();
    let output = firn.run(&bundle).succeeds();
    assert!(refused(&output.stdout), "{}", output.stdout);
    next(&told);
    firn.left_nothing();
}

#[test]
fn without_its_agent_a_container_is_not_made() {
    let scratch = Scratch::new("notify-none");
    let firn = Runtime::firn(&scratch);
    let bundle = bundle(&scratch, "echo here");
    let says = |stderr: &str| {
        assert!(
            stderr.contains("agent.sock: failed to connect with seccomp agent: no such file or directory"),
            "{stderr}"
        );
    };
    says(&firn.run(&bundle).fails(1).stderr);
    firn.left_nothing();
    says(&firn.create(&bundle).fails(1).stderr);
    firn.left_nothing();
    // A path, but not of an agent's.
    scratch.write("agent.sock", "");
    assert!(firn.run(&bundle).fails(1).stderr.contains("failed to connect with seccomp agent: connection refused"));
    firn.left_nothing();
    std::fs::remove_file(scratch.join("agent.sock")).unwrap();
    // exec, whose agent has gone away.
    let told = agent(&scratch.join("agent.sock"));
    let running = bundle.shell("exec sleep 1000").write();
    firn.create(&running).succeeds();
    firn.start().succeeds();
    next(&told);
    std::fs::remove_file(scratch.join("agent.sock")).unwrap();
    says(&firn.exec(&["echo", "here"]).fails(255).stderr);
    assert_eq!(firn.status(), "running");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}
