//! What callers hand over and want to hear: pidfds, descriptors of a service
//! manager, readiness.

use firn_conformance::harness::descriptors::receive;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, command, wait_until};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::json;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Of the process behind a pidfd.
fn pid_of(pidfd: &OwnedFd) -> String {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd").trim().to_owned()
}

#[test]
fn a_pidfd_goes_to_its_socket() {
    let scratch = Scratch::new("pidfd");
    let firn = Runtime::firn(&scratch);
    let path = scratch.join("pidfd.sock");
    let socket = path.to_string_lossy().into_owned();
    let bundle = Bundle::new(&scratch).shell("trap 'exit 3' TERM; while :; do sleep 0.1; done").write();
    let error = firn.create_with(&bundle, &["--pidfd-socket", &socket]).fails(1).stderr;
    assert!(error.contains("connect to the pidfd socket") && error.contains("no such file"), "{error}");
    firn.left_nothing();
    let listener = UnixListener::bind(&path).unwrap();
    let next = || {
        let (word, mut fds) = receive(listener.accept().unwrap().0);
        let pidfd = fds.pop().expect("a descriptor");
        let pid = pid_of(&pidfd);
        (word, pidfd, pid)
    };
    firn.create_with(&bundle, &["--pidfd-socket", &socket]).succeeds();
    let (word, init, pid) = next();
    assert_eq!((word.as_str(), pid), ("standard", firn.state()["pid"].to_string()));
    firn.start().succeeds();
    let file = scratch.join("pid");
    let file = file.to_string_lossy();
    // It lets go of the streams, for whose end the call waits.
    let sleep = ["sh", "-c", "exec sleep 1000 >/dev/null 2>&1"];
    let exec = ["exec", "--detach", "--pidfd-socket", &socket, "--pid-file", &file, firn.id()];
    let exec = [&exec[..], &sleep].concat();
    firn.call(&exec).succeeds();
    let (word, _, pid) = next();
    assert_eq!((word.as_str(), pid), ("setns", std::fs::read_to_string(&*file).unwrap()));
    pidfd_send_signal(&init, Signal::TERM).unwrap();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

/// `shell` in a process whose number LISTEN_PID says.
fn activated(line: &Command, listen: &str) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("exec 3<$0 4</dev/null 5<$0; {listen} exec \"$@\"");
    shell.args(["-c", &script, "/etc/passwd"]).arg(line.get_program()).args(line.get_args());
    shell
}

#[test]
fn descriptors_of_a_service_manager_go_in() {
    let scratch = Scratch::new("listen");
    let firn = Runtime::firn(&scratch);
    let runc = Runtime::new(program("runc", "runc"), &scratch);
    let script = "echo $LISTEN_FDS $LISTEN_PID; for n in 3 4 5 6; do [ -e /proc/self/fd/$n ] && echo $n; done; true";
    let bundle = Bundle::new(&scratch).shell(script).write();
    let path = bundle.path.to_string_lossy();
    let more = |runtime: &Runtime, listen: &str, options: &[&str]| {
        let words = [&["run", "--bundle", &path], options, &[runtime.id()]].concat();
        command(&mut activated(&runtime.command(&words), listen)).succeeds().stdout
    };
    let ours = "LISTEN_FDS=2 LISTEN_PID=$$";
    for (listen, options, expected) in [
        (ours, &[][..], "2 1\n3\n4\n"),
        (ours, &["--preserve-fds", "1"], "2 1\n3\n4\n5\n"),
        // Meant for somebody else.
        ("LISTEN_FDS=2 LISTEN_PID=1", &[], "\n"),
        ("LISTEN_FDS=2", &[], "\n"),
    ] {
        assert_eq!(more(&firn, listen, options), expected, "{listen} {options:?}");
        assert_eq!(more(&runc, listen, options), expected, "runc: {listen} {options:?}");
    }
    firn.left_nothing();
}

/// What a service manager hears; barriers are answered.
fn manager(scratch: &Scratch) -> Receiver<String> {
    let socket = UnixDatagram::bind(scratch.join("manager.sock")).unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        loop {
            if tell.send(receive(&socket).0).is_err() {
                return;
            }
        }
    });
    told
}

fn ready_bundle(scratch: &Scratch, script: &str) -> Bundle {
    // busybox has no way to send a datagram to a unix socket.
    let bundle = Bundle::new(scratch).shell(script);
    let sender = firn_conformance::harness::binary("firn-inside");
    std::fs::copy(sender, bundle.root().join("bin/inside")).unwrap();
    let tmpfs = json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs"});
    bundle.mount(tmpfs).write()
}

#[test]
fn readiness_is_passed_on() {
    let scratch = Scratch::new("ready");
    let firn = Runtime::firn(&scratch);
    let told = manager(&scratch);
    let say = "inside notify 'STATUS=no business of yours'; inside notify 'READY=1'";
    let bundle = ready_bundle(&scratch, &format!("{say}; exec sleep 1000"));
    // What the container holds of our pipes would keep us waiting.
    let with = |line: &mut Command| {
        line.env("NOTIFY_SOCKET", scratch.join("manager.sock")).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(line.status().unwrap().success());
    };
    let path = bundle.path.to_string_lossy().into_owned();
    let next = || told.recv_timeout(Duration::from_secs(10)).expect("the manager heard nothing");
    let heard = |pid: &str| {
        assert_eq!([next(), next(), next()], ["READY=1\n".to_owned(), format!("MAINPID={pid}\n"), "BARRIER=1".into()]);
    };
    // `start` returns when the container is ready.
    with(&mut firn.command(&["create", "--bundle", &path, firn.id()]));
    assert!(told.try_recv().is_err());
    with(&mut firn.command(&["start", firn.id()]));
    heard(&firn.state()["pid"].to_string());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    // And `run --detach`.
    with(&mut firn.command(&["run", "--detach", "--bundle", &path, firn.id()]));
    heard(&firn.state()["pid"].to_string());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    // In the foreground the main process is firn's own.
    let mut line = firn.command(&["run", "--bundle", &path, firn.id()]);
    let mut run = line.env("NOTIFY_SOCKET", scratch.join("manager.sock")).spawn().unwrap();
    heard(&run.id().to_string());
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    run.wait().unwrap();
    firn.left_nothing();
}

/// READY=1 that a program sends at once finds the socket, however slowly firn runs.
#[test]
fn the_notify_socket_is_there_before_the_program() {
    let scratch = Scratch::new("early");
    let firn = Runtime::firn(&scratch);
    let told = manager(&scratch);
    let bundle = ready_bundle(&scratch, "inside notify 'READY=1' && exec sleep 1000");
    let line = firn.command(&["run", "--detach", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let mut traced = Command::new("timeout");
    traced.arg("20").arg(program("strace", "strace")).args(["-f", "-o"]).arg(scratch.join("trace"));
    // Half a second, in which the program sends.
    traced.args(["-e", "trace=bind", "-e", "inject=bind:delay_enter=500000"]);
    traced.arg(line.get_program()).args(line.get_args());
    traced.env("NOTIFY_SOCKET", scratch.join("manager.sock")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut running = traced.spawn().unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(15)).as_deref(), Ok("READY=1\n"));
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    running.wait().unwrap();
    firn.left_nothing();
}

#[test]
fn a_container_that_ends_before_it_is_ready_keeps_nobody_waiting() {
    let scratch = Scratch::new("unready");
    let firn = Runtime::firn(&scratch);
    let told = manager(&scratch);
    let bundle = ready_bundle(&scratch, "exec sleep 1000");
    let path = bundle.path.to_string_lossy().into_owned();
    let mut line = firn.command(&["run", "--detach", "--bundle", &path, firn.id()]);
    line.env("NOTIFY_SOCKET", scratch.join("manager.sock")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut run = line.spawn().unwrap();
    wait_until("it runs", || firn.call(&["state", firn.id()]).stdout.contains("running"));
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    assert!(run.wait().unwrap().success());
    assert!(told.try_recv().is_err());
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
    let mut line = firn.command(&["run", "--detach", "--bundle", &path, firn.id()]);
    // One of a service that is gone keeps nobody from starting.
    line.env("NOTIFY_SOCKET", scratch.join("nobody.sock")).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(line.status().unwrap().success());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn a_wait_for_readiness_can_be_given_up() {
    let scratch = Scratch::new("giveup");
    let firn = Runtime::firn(&scratch);
    let _manager = manager(&scratch);
    let bundle = ready_bundle(&scratch, "exec sleep 1000");
    let path = bundle.path.to_string_lossy().into_owned();
    let mut line = firn.command(&["run", "--detach", "--bundle", &path, firn.id()]);
    line.env("NOTIFY_SOCKET", scratch.join("manager.sock")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut run = line.spawn().unwrap();
    wait_until("it runs", || firn.call(&["state", firn.id()]).stdout.contains("running"));
    // Until the program is executed, firn waits for init with all signals blocked.
    wait_until("firn waits for readiness", || !blocks_signals(run.id()));
    assert!(run.try_wait().unwrap().is_none(), "it does not wait");
    command(Command::new("kill").arg(run.id().to_string())).succeeds();
    assert_eq!(run.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    // The container is left as it is.
    assert_eq!(firn.state()["status"], "running");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

/// Whether a signal is blocked in the process (proc_pid_status(5)).
fn blocks_signals(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    mask.trim().bytes().any(|digit| digit != b'0')
}
