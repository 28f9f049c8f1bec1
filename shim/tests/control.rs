//! The control socket: status, stop, kill, restart, and attached clients.

mod common;

use common::{Fixture, Monitor, text_of, until};
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{AttachedStream, Event, Request, State, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

/// Waits for the signal to stop.
const WAITS: &str = "trap 'exit 0' 37; touch /data/up; while :; do sleep 0.05; done";

/// Prints what it reads, and its end.
const ECHOES: &str = "trap 'exit 0' 37; touch /data/up; cat; echo end >&2; while :; do sleep 0.05; done";

fn verb(fixture: &Fixture, verb: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn-shim"));
    command.arg(verb).args(options).arg("--state-dir").arg(fixture.dir.join("state")).arg(&fixture.id);
    command.stdin(Stdio::null());
    command
}

fn run(fixture: &Fixture, name: &str, options: &[&str]) -> Output {
    verb(fixture, name, options).output().unwrap()
}

fn connect(fixture: &Fixture) -> Client {
    Client::connect(&fixture.dir.join("state"), &fixture.id).unwrap().expect("a monitor")
}

fn status(client: &mut Client) -> Status {
    *client.call(Request::Status).unwrap().0.status.unwrap()
}

fn running(fixture: &Fixture, options: &[&str]) -> (Monitor, Client) {
    let monitor = fixture.start(options);
    fixture.wait_for("up");
    let mut client = connect(fixture);
    until("it runs", || status(&mut client).state == State::Running);
    (monitor, client)
}

/// The sockets of an attachment.
fn attach(client: &mut Client, input: bool) -> (Vec<AttachedStream>, Vec<UnixStream>) {
    let (reply, sockets) = client.call(Request::Attach { input }).unwrap();
    (reply.streams, sockets.into_iter().map(UnixStream::from).collect())
}

#[test]
fn status_and_events() {
    let fixture = Fixture::new("status", WAITS);
    let (monitor, mut client) = running(&fixture, &["--timeout-stop", "5"]);
    let now = status(&mut client);
    assert_eq!((now.state, now.pid, now.restarts), (State::Running, Some(fixture.init_pid()), 0));
    assert_eq!(now.monitor_pid, monitor.pid().cast_unsigned());
    assert_eq!(now.log.as_deref(), fixture.state("log").to_str());

    let printed: Value = serde_json::from_slice(&run(&fixture, "status", &["--json"]).stdout).unwrap();
    assert_eq!(printed, serde_json::to_value(&now).unwrap());
    let line = text_of(&run(&fixture, "status", &[]).stdout);
    assert!(line.starts_with(&format!("{}: running since 20", fixture.id)), "{line}");

    let times = [Some(now.started_at.clone()), now.created_at.clone(), now.init_at.clone(), now.ready_at.clone()];
    assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{times:?}");

    client.call(Request::Subscribe).unwrap();
    let mut watcher = connect(&fixture);
    assert_eq!(watcher.call(Request::Watch).unwrap().0.status.as_deref(), Some(&now));
    fs::remove_file(fixture.data("up")).unwrap();
    assert_eq!(run(&fixture, "restart", &[]).status.code(), Some(0));
    fixture.wait_for("up");
    assert_eq!(run(&fixture, "stop", &[]).status.code(), Some(0));
    let mut seen = Vec::new();
    while let Some(event) = client.next_event().unwrap() {
        match event {
            Event::Status(status) => seen.push((status.state, status.restarts, status.pid.is_some())),
            Event::Ended { code } => {
                assert_eq!(code, 0);
                break;
            }
            Event::ExecEnded { .. } | Event::Happened(_) => panic!("nothing was executed"),
        }
    }
    use State::{Creating, Done, Exited, Running, Starting, Stopping};
    // `starting` may be over before anybody is told.
    seen.retain(|state| state.0 != Starting);
    seen.dedup_by_key(|state| state.0);
    let states: Vec<State> = seen.iter().map(|state| state.0).collect();
    assert_eq!(states, [Stopping, Exited, Creating, Running, Stopping, Exited, Done]);
    assert_eq!(
        seen.iter().filter(|state| state.0 == Running).map(|state| (state.1, state.2)).collect::<Vec<_>>(),
        [(1, true)]
    );
    let mut happened = Vec::new();
    while let Some(event) = watcher.next_event().unwrap() {
        let Event::Happened(event) = event else { panic!("only that was asked for: {event:?}") };
        happened.push(serde_json::to_value(&event.what).unwrap()["type"].as_str().unwrap().to_owned());
    }
    let expected = ["stopping", "exit", "restart", "start", "init", "ready", "stopping", "exit", "down"];
    assert_eq!(happened, expected);
    assert_eq!(monitor.end().code, Some(0));
    fixture.assert_clean();
    let gone = run(&fixture, "status", &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text_of(&gone.stderr).contains("no monitor runs it"), "{}", text_of(&gone.stderr));
}

#[test]
fn a_stop_may_have_a_limit_of_its_own() {
    let fixture = Fixture::new("stop-limit", "trap '' 37; touch /data/up; while :; do sleep 0.05; done");
    let (monitor, _client) = running(&fixture, &["--timeout-stop", "0"]);
    assert_eq!(run(&fixture, "stop", &["--no-wait"]).status.code(), Some(0));
    let stopped = run(&fixture, "stop", &["--timeout", "0"]);
    assert_eq!(stopped.status.code(), Some(1), "{}", text_of(&stopped.stderr));
    assert_eq!(monitor.end().code, Some(137));
    assert_eq!(fixture.record()["reason"], "killed");
}

#[test]
fn a_kill_is_for_good() {
    let fixture = Fixture::new("kill", &format!("trap 'touch /data/usr1' USR1; {WAITS}"));
    let (monitor, mut client) = running(&fixture, &["--restart", "always"]);
    assert_eq!(run(&fixture, "kill", &["USR1"]).status.code(), Some(1), "options before the name");
    let mut usr1 = verb(&fixture, "kill", &[]);
    assert_eq!(usr1.arg("USR1").status().unwrap().code(), Some(0));
    fixture.wait_for("usr1");
    assert!(client.call(Request::Signal { number: 99 }).unwrap_err().chain().contains("unknown signal"));
    assert_eq!(run(&fixture, "kill", &[]).status.code(), Some(0));
    assert_eq!(monitor.end().code, Some(137));
    assert_eq!(fixture.record()["restarts"], 0);
}

#[test]
fn what_is_typed_arrives_whole() {
    let fixture = Fixture::new("typed", ECHOES);
    let (monitor, mut client) = running(&fixture, &["--stdin", "--log-size", "0"]);
    let (streams, mut sockets) = attach(&mut client, true);
    assert_eq!(streams, [AttachedStream::Stdout, AttachedStream::Stderr, AttachedStream::Input]);
    assert!(client.call(Request::Attach { input: false }).unwrap_err().chain().contains("attached already"));
    // All bytes, and far more than pipes and sockets hold.
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let mut typist = sockets.pop().unwrap();
    // The monitor's own stdout is a pipe, which holds the container while it is not read.
    let ended = std::thread::spawn(move || monitor.end());
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || {
            typist.write_all(&bytes).unwrap();
            typist.shutdown(std::net::Shutdown::Write).unwrap();
        }
    });
    let mut got = vec![0; bytes.len()];
    sockets[0].read_exact(&mut got).unwrap();
    assert!(got == bytes, "other bytes");
    writer.join().unwrap();
    let mut end = [0; 4];
    sockets[1].read_exact(&mut end).unwrap();
    assert_eq!(&end, b"end\n");
    assert_eq!(run(&fixture, "stop", &[]).status.code(), Some(0));
    assert_eq!(ended.join().unwrap().code, Some(0));
    // The last words are sent before the monitor ends, and then there is an end.
    assert_eq!(sockets[0].read(&mut got).unwrap(), 0);
}

#[test]
fn attach_is_a_pipe_to_the_container() {
    let fixture = Fixture::new("attach", "touch /data/up; cat; echo done; exit 7");
    let (monitor, _client) = running(&fixture, &["--stdin"]);
    let mut attached = verb(&fixture, "attach", &[]);
    let mut child = attached.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a\0b\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"a\0b\ndone\n");
    assert_eq!(output.status.code(), Some(7), "{}", text_of(&output.stderr));
    assert_eq!(monitor.end().code, Some(7));

    let fixture = Fixture::new("attach-null", WAITS);
    let (_monitor, _client) = running(&fixture, &[]);
    let refused = run(&fixture, "attach", &[]);
    assert!(text_of(&refused.stderr).contains("its input is /dev/null: run it with --stdin"));
}

#[test]
fn a_reader_that_stops_is_dropped_and_not_waited_for() {
    let script = "trap 'exit 0' 37; touch /data/up; until [ -e /data/go ]; do sleep 0.01; done; \
                  dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\0' x; echo; touch /data/written; \
                  while :; do sleep 0.05; done";
    let mut fixture = Fixture::new("slow", script);
    fixture.config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"destination": "/dev/zero", "type": "bind", "source": "/dev/zero", "options": ["bind"]}));
    const ALL: usize = 64 * 65_536 + 1;
    let (mut monitor, mut slow) = running(&fixture, &[]);
    let (_, mut asleep) = attach(&mut slow, false);
    let mut quick = connect(&fixture);
    let (_, mut awake) = attach(&mut quick, false);
    let mut stdout = monitor.take_stdout();
    fs::write(fixture.data("go"), "").unwrap();
    // The container is as fast as the monitor's own stdout is read, and so is this client.
    let (mut from_stdout, mut from_client) = (vec![0; 65_536], vec![0; 65_536]);
    let mut count = 0;
    while count < ALL {
        let read = stdout.read(&mut from_stdout).unwrap();
        awake[0].read_exact(&mut from_client[..read]).unwrap();
        assert!(from_stdout[..read] == from_client[..read], "other bytes at {count}");
        count += read;
    }
    assert_eq!(count, ALL);
    // The other one got what sockets hold, and then an end.
    let mut got = Vec::new();
    asleep[0].read_to_end(&mut got).unwrap();
    assert!(got.len() < 64 * 65_536, "{}", got.len());
    assert_eq!(status(&mut slow).state, State::Running);
    assert_eq!(run(&fixture, "stop", &[]).status.code(), Some(0));
    assert_eq!(monitor.wait(), Some(0));
}

#[test]
fn a_terminal_is_attached_resized_and_left() {
    let script =
        "trap 'exit 0' 37; trap 'stty size' WINCH; touch /data/up; while :; do read line && echo \"<$line>\"; done";
    let mut fixture = Fixture::new("attach-tty", script);
    fixture.config["process"]["terminal"] = json!(true);
    let (monitor, mut client) = running(&fixture, &[]);
    let pty = openpty(Some(&nix::pty::Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 }), None).unwrap();
    let slave = |pty: &OwnedFd| Stdio::from(pty.try_clone().unwrap());
    let mut command = verb(&fixture, "attach", &[]);
    command.stdin(slave(&pty.slave)).stdout(slave(&pty.slave)).stderr(slave(&pty.slave));
    let mut child = command.process_group(0).spawn().unwrap();
    drop((pty.slave, command));
    let mut ours = fs::File::from(pty.master);
    let mut seen = String::new();
    let mut wait_for = |ours: &mut fs::File, wanted: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(wanted) {
            let count = ours.read(&mut buffer).unwrap();
            seen += &text_of(&buffer[..count]);
        }
    };
    wait_for(&mut ours, "33 101");
    ours.write_all(b"hello\r").unwrap();
    wait_for(&mut ours, "<hello>");
    assert!(client.call(Request::Resize { rows: 12, columns: 34 }).is_ok());
    wait_for(&mut ours, "12 34");
    ours.write_all(b"\x10\x11").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{seen}");
    assert_eq!(status(&mut client).state, State::Running);
    assert_eq!(run(&fixture, "stop", &[]).status.code(), Some(0));
    drop(monitor);
}

#[test]
fn nothing_that_a_client_sends_holds_the_monitor() {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket};
    let fixture = Fixture::new("hostile", WAITS);
    let (monitor, mut client) = running(&fixture, &[]);
    let open = || {
        let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(fixture.state("control")).unwrap()).unwrap();
        socket
    };
    let answer = |text: &[u8]| {
        let socket = open();
        send(&socket, text, SendFlags::NOSIGNAL).unwrap();
        let mut buffer = [0; 4096];
        let (length, _) = recv(&socket, &mut buffer, rustix::net::RecvFlags::empty()).unwrap();
        text_of(&buffer[..length])
    };
    assert!(answer(br#"{"version": 2, "request": "status"}"#).contains("speaks version 1 of the protocol, not 2"));
    assert!(answer(br#"{"version": 1, "request": "explode"}"#).contains("does not know"));
    assert!(answer(b"\xff{").contains("not 0"));
    assert!(answer(&vec![b' '; 20_000]).contains("at most"));
    // One that asks and never reads, and more connections than there is room for.
    let deaf = open();
    while send(&deaf, br#"{"version": 1, "request": "status"}"#, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok() {}
    until("the end of its connection", || {
        let mut hung_up = [PollFd::new(deaf.as_fd(), PollFlags::empty())];
        poll(&mut hung_up, PollTimeout::ZERO).unwrap() == 1
    });
    let many: Vec<OwnedFd> = (0..100).map(|_| open()).collect();
    assert_eq!(status(&mut client).state, State::Running);
    let full = run(&fixture, "status", &[]);
    assert!(text_of(&full.stderr).contains("too many programs"), "{}", text_of(&full.stderr));
    drop(many);
    until("room for another one", || {
        let client = Client::connect(&fixture.dir.join("state"), &fixture.id).unwrap();
        client.expect("a monitor").call(Request::Status).is_ok()
    });

    // Another user.
    let mut other = verb(&fixture, "status", &[]);
    for directory in [&fixture.dir, &fixture.dir.join("state"), &fixture.state("")] {
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(fixture.state("control"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let exe = fixture.dir.join("firn-shim");
    // By another process: a program that a fork of this one has open for writing is not executed.
    assert!(common::host("cp", &[env!("CARGO_BIN_EXE_firn-shim"), exe.to_str().unwrap()]).status.success());
    let output = Command::new(&exe)
        .args(other.get_args().map(ToOwned::to_owned).collect::<Vec<_>>())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(text_of(&output.stderr).contains("only root and the user who runs"), "{}", text_of(&output.stderr));
    assert_eq!(other.status().unwrap().code(), Some(0));
    client.call(Request::Stop { timeout: None }).unwrap();
    assert_eq!(monitor.end().code, Some(0));
}
