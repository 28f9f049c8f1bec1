//! What callers hand over and want to hear: pidfds, descriptors of a service
//! manager, readiness.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, command};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::json;
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn receive(socket: impl AsFd) -> (String, Option<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    let message =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (String::from_utf8_lossy(&text[..message.bytes]).into_owned(), fd)
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
        let (word, pidfd) = receive(listener.accept().unwrap().0);
        let pidfd = pidfd.expect("a descriptor");
        let pid = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", {
            use std::os::fd::AsRawFd;
            pidfd.as_raw_fd()
        }))
        .unwrap();
        let pid = pid.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned();
        (word, pidfd, pid)
    };
    firn.create_with(&bundle, &["--pidfd-socket", &socket]).succeeds();
    let (word, init, pid) = next();
    assert_eq!((word.as_str(), pid), ("standard", firn.state()["pid"].to_string()));
    firn.start().succeeds();
    let file = scratch.join("pid");
    let file = file.to_string_lossy();
    let exec = ["exec", "--detach", "--pidfd-socket", &socket, "--pid-file", &file, firn.id(), "sleep", "0.2"];
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
    let say = "inside notify 'STATUS=no business of yours'; sleep 0.3; inside notify 'READY=1'";
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

#[test]
fn a_container_that_ends_before_it_is_ready_keeps_nobody_waiting() {
    let scratch = Scratch::new("unready");
    let firn = Runtime::firn(&scratch);
    let told = manager(&scratch);
    let bundle = ready_bundle(&scratch, "sleep 0.2");
    let path = bundle.path.to_string_lossy().into_owned();
    let mut line = firn.command(&["run", "--detach", "--bundle", &path, firn.id()]);
    command(line.env("NOTIFY_SOCKET", scratch.join("manager.sock"))).succeeds();
    assert!(told.try_recv().is_err());
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
    // Nobody there to be told is a mistake of the caller's.
    let mut line = firn.command(&["run", "--detach", "--bundle", &path, firn.id()]);
    let error = command(line.env("NOTIFY_SOCKET", scratch.join("nobody.sock"))).fails(1).stderr;
    assert!(error.contains("connect to NOTIFY_SOCKET"), "{error}");
    firn.left_nothing();
}

#[test]
fn mounts_come_and_go_while_the_container_runs() {
    let scratch = Scratch::new("mounts");
    for user_namespace in [false, true] {
        let firn = Runtime::firn(&scratch);
        let source = scratch.folder(if user_namespace { "own" } else { "host" });
        std::fs::write(source.join("file"), "of the host").unwrap();
        let mut bundle = Bundle::new(&scratch).shell("exec sleep 1000");
        if user_namespace {
            let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
            bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
        }
        let bundle = bundle.set("/root/readonly", json!(false)).write();
        firn.create(&bundle).succeeds();
        firn.start().succeeds();
        let list = json!([
            {"destination": "/new/data", "source": source, "options": ["rbind", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
        ]);
        let file = scratch.write("list.json", &list.to_string());
        let file = file.to_string_lossy().into_owned();
        firn.call(&["mounts", "add", firn.id(), &file]).succeeds();
        assert_eq!(firn.exec(&["cat", "/new/data/file"]).succeeds().stdout, "of the host");
        assert!(firn.exec(&["touch", "/new/data/x"]).fails(1).stderr.contains("Read-only"));
        assert!(firn.exec(&["grep", " /tmp ", "/proc/mounts"]).succeeds().stdout.contains("size=1024k"));
        firn.call(&["mounts", "remove", firn.id(), &file]).succeeds();
        assert_eq!(firn.exec(&["ls", "/new/data"]).succeeds().stdout, "");
        let gone = firn.call(&["mounts", "remove", firn.id(), &file]).fails(1).stderr;
        assert!(gone.contains("unmount /tmp: nothing is mounted there"), "{gone}");
        // One that fails takes those before it along.
        let list = json!([{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "nosuchfs"}]);
        let bad = scratch.write("bad.json", &list.to_string());
        let error = firn.call(&["mounts", "add", firn.id(), &bad.to_string_lossy()]).fails(1).stderr;
        assert!(error.contains("mount /b") && error.contains("nosuchfs"), "{error}");
        firn.exec(&["grep", " /a ", "/proc/mounts"]).fails(1);
        let root = scratch.write("root.json", r#"[{"destination": "/x/..", "type": "tmpfs"}]"#);
        let error = firn.call(&["mounts", "remove", firn.id(), &root.to_string_lossy()]).fails(1).stderr;
        assert!(error.contains("would cover the root"), "{error}");
        firn.call(&["delete", "--force", firn.id()]).succeeds();
        firn.left_nothing();
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
}
