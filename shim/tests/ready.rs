//! Readiness, with a real runtime. The container's program is this test itself,
//! which is static: `inside` is what it does there.

mod common;

use common::Fixture;
use nix::sys::signal::Signal;
use serde_json::json;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

/// Sends each word of $TELL.
#[test]
#[ignore = "is run by containers"]
fn inside() {
    let words = std::env::var("TELL").unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    let to = std::env::var("NOTIFY_SOCKET").unwrap();
    assert_eq!(to, "/run/host/notify");
    let one = words.replace(' ', "\n");
    let messages: Vec<&str> = if std::env::var("ONE").is_ok() { vec![&one] } else { words.split(' ').collect() };
    for word in messages {
        socket.send_to(word.replace('+', " ").as_bytes(), &to).unwrap();
    }
    barrier(&socket, &to);
}

/// As sd_notify_barrier does: sends a pipe's end, and waits until it is closed.
fn barrier(socket: &UnixDatagram, to: &str) {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::os::fd::AsRawFd;
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let address = UnixAddr::new(to).unwrap();
    let text = [std::io::IoSlice::new(b"BARRIER=1")];
    let fds = [writer.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg(socket.as_raw_fd(), &text, &control, MsgFlags::empty(), Some(&address)).unwrap();
    drop(writer);
    let mut byte = [0];
    assert_eq!(nix::unistd::read(&reader, &mut byte).unwrap(), 0);
}

fn tell(words: &str) -> String {
    format!("TELL='{words}' /bin/inside inside --exact --ignored --quiet >/dev/null || exit 9")
}

/// All of them in one message.
fn tell_at_once(words: &str) -> String {
    format!("ONE=1 {}", tell(words))
}

const LOOP: &str = "while :; do sleep 0.1; done";

/// A service manager's socket, and the monitor's environment for it.
struct Manager(UnixDatagram, std::path::PathBuf);

impl Manager {
    fn new(fixture: &Fixture) -> Manager {
        let path = fixture.dir.join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Manager(socket, path)
    }

    fn start(&self, mut command: Command) -> common::Monitor {
        command.env("NOTIFY_SOCKET", &self.1);
        common::Monitor::spawn(command)
    }

    fn next(&self) -> String {
        let mut text = [0; 4096];
        let count = self.0.recv(&mut text).unwrap();
        String::from_utf8(text[..count].to_vec()).unwrap()
    }
}

#[test]
fn ready_is_handed_on_and_waited_for() {
    let go = "until [ -e /data/go ]; do sleep 0.05; done";
    // What the container says of stopping is not the unit's.
    let half = tell("STOPPING=1 STATUS=half+way MAINPID=1");
    let script = format!("trap 'exit 0' 37; {half}; {go}; {}; {LOOP}", tell("READY=1"));
    let fixture = Fixture::new("ready", &script).with_helper().with_roots(json!({"init": {"notify": true}}));
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    assert_eq!(manager.next(), "STATUS=half way");
    std::fs::write(fixture.data("go"), "").unwrap();
    assert_eq!(manager.next(), "READY=1");
    monitor.signal(Signal::SIGTERM);
    assert_eq!(manager.next(), "STOPPING=1");
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let record = fixture.record();
    assert!(record["readyAt"].as_str() > record["startedAt"].as_str());
    fixture.assert_clean();
}

#[test]
fn not_expected_is_ready_at_once_but_a_message_counts() {
    let fixture =
        Fixture::new("auto", &format!("trap 'exit 0' 37; {}; {LOOP}", tell("READY=1 EXIT_STATUS=5"))).with_helper();
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    // READY waits for the end of the runtime's `start`, other news does not.
    let mut received = [manager.next(), manager.next()];
    received.sort();
    assert_eq!(received, ["EXIT_STATUS=5", "READY=1"]);
    monitor.signal(Signal::SIGTERM);
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("is ready").count(), 1);
}

#[test]
fn never_ready_is_a_failed_start() {
    let fixture = Fixture::new("unready", &format!("echo waiting for the database; {LOOP}"));
    let ended = fixture.run(&["--notify", "yes", "--timeout-start", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("not ready after 1 s; its last lines:\nwaiting for the database"),
        "{}",
        ended.stderr
    );
    assert_eq!(fixture.record()["reason"], "start-timeout");
    fixture.assert_clean();
}

#[test]
fn without_notify_there_is_no_socket() {
    let fixture = Fixture::new("no-notify", "[ -z \"$NOTIFY_SOCKET\" ] && [ ! -e /run/host ]");
    assert_eq!(fixture.run(&["--notify=no"]).code, Some(0));
}

#[test]
fn the_monitor_s_own_socket_stays_outside() {
    let fixture = Fixture::new("env", "env > /data/env");
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    assert_eq!(monitor.end().code, Some(0));
    let env = std::fs::read_to_string(fixture.data("env")).unwrap();
    assert!(env.contains("NOTIFY_SOCKET=/run/host/notify\n"), "{env}");
    assert!(!env.contains("manager"), "{env}");
}

#[test]
fn any_user_of_the_container_may_tell() {
    let mut fixture = Fixture::new("user", &format!("{}; exit 0", tell("STATUS=from+a+user"))).with_helper();
    fixture.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    let received = [manager.next(), manager.next()];
    assert!(received.contains(&"STATUS=from a user".into()), "{received:?}");
    assert_eq!(monitor.end().code, Some(0));
}

#[test]
fn long_names_have_sockets_too() {
    let name = format!("long-{}", "n".repeat(160));
    let mut fixture = Fixture::new("long", &format!("{}; tty", tell("READY=1"))).with_helper();
    fixture.config["process"]["terminal"] = json!(true);
    let mut command = fixture.command(&["--notify=yes"]);
    let id = fixture.id.clone();
    fixture.id = format!("{id}-{name}");
    command = {
        let args: Vec<_> = command
            .get_args()
            .map(|arg| match arg.to_str() {
                Some(text) if text == id => fixture.id.clone().into(),
                _ => arg.to_owned(),
            })
            .collect();
        let mut long = Command::new(command.get_program());
        long.args(args).env_remove("NOTIFY_SOCKET");
        long.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        long
    };
    let ended = common::Monitor::spawn(command).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    fixture.assert_clean();
}

#[test]
fn from_a_user_namespace() {
    let script = format!("{}; exit 0", tell("STATUS=from+below"));
    let mut fixture = Fixture::new("userns", &script).with_helper();
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    fixture.config["linux"]["uidMappings"] = mapping.clone();
    fixture.config["linux"]["gidMappings"] = mapping;
    fixture.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    let root = fixture.dir.join("bundle");
    let owner = common::host("chown", &["-R", "100000:100000", root.to_str().unwrap()]);
    assert!(owner.status.success());
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?} {}", fixture.log());
    let received = [manager.next(), manager.next()];
    assert!(received.contains(&"STATUS=from below".into()), "{received:?}");
    fixture.assert_clean();
}

/// Makes a TCP socket whose close takes a minute, and sends it to the monitor as soon
/// as /data/stopped is there; /data/sent when it is the monitor's alone.
#[test]
#[ignore = "is run by containers"]
fn linger() {
    use nix::sys::socket::{ControlMessage, MsgFlags, SetSockOpt, UnixAddr, sendmsg, sockopt};
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_unread, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 65_536]).is_ok() {}
    sockopt::Linger.set(&stream, &nix::libc::linger { l_onoff: 1, l_linger: 60 }).unwrap();
    std::fs::write("/data/full", "").unwrap();
    common::until("the monitor to be stopped", || std::path::Path::new("/data/stopped").exists());
    let socket = UnixDatagram::unbound().unwrap();
    let address = UnixAddr::new("/run/host/notify").unwrap();
    let text = [std::io::IoSlice::new(b"FDSTORE=1\nSTATUS=sent")];
    let fds = [stream.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg(socket.as_raw_fd(), &text, &control, MsgFlags::empty(), Some(&address)).unwrap();
    drop(stream);
    std::fs::write("/data/sent", "").unwrap();
    // For as long as the container is there nobody reads, and nobody resets.
    loop {
        std::thread::park();
    }
}

/// The close of a container's socket may block, and the process in it reacts to nothing meanwhile.
#[test]
fn a_socket_that_lingers_does_not_make_the_monitor_deaf() {
    let script = format!(
        "trap 'echo stopped; exit 0' 37; ip link set lo up; /bin/inside linger --exact --ignored --quiet & {LOOP}"
    );
    let mut fixture = Fixture::new("linger", &script).with_helper();
    std::os::unix::fs::symlink("busybox", fixture.dir.join("bundle/rootfs/bin/ip")).unwrap();
    for set in ["bounding", "effective", "permitted"] {
        let set = fixture.config["process"]["capabilities"][set].as_array_mut().unwrap();
        set.push(json!("CAP_NET_ADMIN"));
    }
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    fixture.wait_for("full");
    assert_eq!(manager.next(), "READY=1");
    // The container must have closed its own before it is received.
    let processes = monitor.family();
    let all = |signal| processes.iter().for_each(|pid| nix::sys::signal::kill(*pid, signal).unwrap());
    all(Signal::SIGSTOP);
    common::until("the stop", || processes.iter().all(|pid| common::state(pid.as_raw()) == Some('T')));
    std::fs::write(fixture.data("stopped"), "").unwrap();
    fixture.wait_for("sent");
    all(Signal::SIGCONT);
    // It may be received before the close is over, or after.
    monitor.signal(Signal::SIGTERM);
    let began = std::time::Instant::now();
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "deaf for {:?}", began.elapsed());
    fixture.assert_clean();
}

/// One message of the container's is at most one of each kind to the manager.
#[test]
fn a_message_is_not_multiplied() {
    let words: Vec<_> = (0..370).map(|n| format!("STATUS={n}")).collect();
    let script = tell_at_once(&words.join(" "));
    let fixture = Fixture::new("many", &script).with_helper();
    let manager = Manager::new(&fixture);
    let monitor = manager.start(fixture.command(&[]));
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    manager.0.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    while let Ok(count) = manager.0.recv(&mut [0; 4096]) {
        received.push(count);
    }
    assert!((1..=2).contains(&received.len()), "{} messages of one", received.len());
}

/// A manager that reads nothing holds up neither a stop nor anything else.
#[test]
fn a_manager_that_does_not_read_is_not_waited_for() {
    let words: Vec<_> = (0..60).map(|n| format!("STATUS={n}")).collect();
    let script = format!("trap 'exit 0' 37; {}; echo > /data/up; {LOOP}", tell_at_once(&words.join(" ")));
    let fixture = Fixture::new("slow-manager", &script).with_helper();
    let manager = Manager::new(&fixture);
    // Its queue is full from the beginning.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"STATUS=full", &manager.1).is_ok() {}
    let monitor = manager.start(fixture.command(&[]));
    fixture.wait_for("up");
    monitor.signal(Signal::SIGTERM);
    let began = std::time::Instant::now();
    let ended = monitor.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "held for {:?}", began.elapsed());
    fixture.assert_clean();
}

/// Runc and firn take keys of config.json in any case: what the monitor changes must not be there
/// a second time.
#[test]
fn a_config_with_keys_in_another_case_is_changed_all_the_same() {
    let script = "[ \"$NOTIFY_SOCKET\" = /run/host/notify ] && [ -S /run/host/notify ] && [ -d /data ] && echo told";
    let mut fixture = Fixture::new("case", script);
    let config = fixture.config.as_object_mut().unwrap();
    for (name, other) in [("root", "Root"), ("mounts", "MOUNTS"), ("process", "Process")] {
        let value = config.remove(name).unwrap();
        config.insert(other.to_owned(), value);
    }
    for (object, name, other) in [("Root", "path", "Path"), ("Process", "env", "Env")] {
        let object = config[object].as_object_mut().unwrap();
        if let Some(value) = object.remove(name) {
            object.insert(other.to_owned(), value);
        }
    }
    let ended = fixture.run(&["--notify", "yes"]);
    assert!(fixture.log().contains("told"), "{} {}", fixture.log(), ended.stderr);
}

#[test]
fn a_silent_container_is_killed_by_its_watchdog() {
    let alive = tell("WATCHDOG=1");
    let script = format!(
        "[ $WATCHDOG_USEC = 1000000 ] || exit 8; {}; for i in 1 2 3 4 5; do {alive}; sleep 0.4; done; echo > /data/lived; {LOOP}",
        tell("READY=1")
    );
    let fixture = Fixture::new("watchdog", &script).with_helper();
    let ended = fixture.run(&["--notify", "yes", "--watchdog", "1"]);
    assert_eq!(ended.code, Some(137), "{ended:?}");
    assert!(ended.stderr.contains("was killed: its watchdog had heard nothing for 1 s"), "{}", ended.stderr);
    assert_eq!(fixture.record()["reason"], "watchdog");
    assert!(fixture.data("lived").exists(), "it was killed too early");
    fixture.assert_clean();

    // It may say so itself, and is started again.
    let script = format!(
        "[ -e /data/once ] && exit 0; echo > /data/once; {}; {}; {LOOP}",
        tell("READY=1"),
        tell("WATCHDOG=trigger")
    );
    let fixture = Fixture::new("watchdog-trigger", &script).with_helper();
    let ended = fixture.run(&["--restart", "on-failure", "--watchdog", "20"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(fixture.record()["restarts"], 1);

    let fixture = Fixture::new("watchdog-deaf", "exit 0");
    let ended = fixture.run(&["--notify", "no", "--watchdog", "20"]);
    assert!(ended.stderr.contains("--watchdog: needs notifications"), "{}", ended.stderr);
}
