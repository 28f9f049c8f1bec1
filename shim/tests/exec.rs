//! Further processes in a container, by the monitor, with a real runtime.

mod common;

use common::{Fixture, Monitor, text_of, until};
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{Event, ExecProcess, Request, State, TerminalSize};
use nix::pty::{Winsize, openpty};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const WAITS: &str = "trap 'exit 0' 37; touch /data/up; while :; do sleep 0.05; done";

fn running(fixture: &Fixture) -> Monitor {
    let monitor = fixture.start(&[]);
    fixture.wait_for("up");
    monitor
}

fn exec(fixture: &Fixture, options: &[&str], command: &[&str]) -> Command {
    let mut exec = Command::new(env!("CARGO_BIN_EXE_firn-shim"));
    exec.arg("exec").args(options).arg("--state-dir").arg(fixture.dir.join("state")).arg(&fixture.id).args(command);
    exec.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    exec
}

fn stop(fixture: &Fixture, monitor: Monitor) {
    monitor.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(monitor.end().code, Some(0));
    fixture.assert_clean();
}

#[test]
fn status_streams_and_options() {
    let fixture = Fixture::new("exec", WAITS);
    let monitor = running(&fixture);
    let run = |options: &[&str], command: &[&str]| {
        let output = exec(&fixture, options, command).output().unwrap();
        (output.status.code(), text_of(&output.stdout), text_of(&output.stderr))
    };
    assert_eq!(run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]), (Some(7), "out\n".into(), "err\n".into()));
    assert_eq!(run(&[], &["sh", "-c", "kill -9 $$"]).0, Some(137));
    let script = "id -u; id -g; pwd; echo $A $PATH";
    let options = ["--user", "1000:50", "--cwd", "/data", "--env", "A=a b"];
    let wanted = "1000\n50\n/data\na b /bin\n";
    assert_eq!(run(&options, &["sh", "-c", script]), (Some(0), wanted.into(), String::new()));
    // Words of the command are no options.
    assert_eq!(run(&[], &["busybox", "echo", "--env", "-x", "--", ""]).1, "--env -x -- \n");
    let missing = run(&[], &["nosuch"]);
    assert_eq!(missing.0, Some(127));
    assert!(missing.2.contains("exec: ") && missing.2.contains("nosuch"), "{}", missing.2);
    assert_eq!(missing.2.matches(&fixture.id).count(), 1, "{}", missing.2);
    stop(&fixture, monitor);
    let gone = run(&[], &["true"]);
    assert!(gone.2.contains("no monitor runs it"), "{}", gone.2);
}

#[test]
fn input_and_output_are_binary_and_have_ends() {
    let fixture = Fixture::new("exec-pipe", WAITS);
    let monitor = running(&fixture);
    let bytes: Vec<u8> = (0..2_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let mut child = exec(&fixture, &[], &["busybox", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || stdin.write_all(&bytes).unwrap()
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    assert!(output.stdout == bytes, "other bytes");
    // Nothing of it is the container's output.
    assert_eq!(fixture.log(), "");
    stop(&fixture, monitor);
}

#[test]
fn a_terminal_of_its_own() {
    let fixture = Fixture::new("exec-tty", WAITS);
    let monitor = running(&fixture);
    let pty = openpty(Some(&Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 }), None).unwrap();
    let slave = |pty: &OwnedFd| Stdio::from(pty.try_clone().unwrap());
    let mut command = exec(&fixture, &["--tty"], &["sh"]);
    command.stdin(slave(&pty.slave)).stdout(slave(&pty.slave)).stderr(slave(&pty.slave)).process_group(0);
    let mut child = command.spawn().unwrap();
    drop((pty.slave, command));
    let mut ours = fs::File::from(pty.master);
    // The keys that detach from a container are the shell's own here.
    ours.write_all(b"\x10\x11stty size; tty; exit 5\r").unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = ours.read(&mut buffer) {
        seen += &text_of(&buffer[..count]);
    }
    assert!(seen.contains("30 90") && seen.contains("/dev/pts/"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(5), "{seen}");
    // The size is there before the process is, with the user's other wishes.
    let mut client = Client::connect(&fixture.dir.join("state"), &fixture.id).unwrap().unwrap();
    for (number, user) in [(1, "7"), (2, "7:8")] {
        let args = ["sh", "-c", "echo $(stty size) $(id -u):$(id -g) $WORD $PWD"].map(str::to_owned).to_vec();
        let size = Some(TerminalSize { rows: 33, columns: 100 + number });
        let (env, cwd, user) = (vec!["WORD=a b".into()], Some("/data".into()), Some(user.to_owned()));
        let process = ExecProcess { args, env, cwd, user, terminal: true, size, ..ExecProcess::default() };
        let (_, mut streams) = client.call(Request::Exec(process)).unwrap();
        let mut shown = String::new();
        let mut terminal = fs::File::from(streams.remove(0));
        until("it has ended", || {
            loop {
                match terminal.read(&mut buffer) {
                    Ok(count @ 1..) => shown += &text_of(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                    Ok(0) | Err(_) => return true,
                }
            }
        });
        assert_eq!(shown, format!("33 {} 7:{} a b /data\r\n", 100 + number, if number == 2 { 8 } else { 0 }));
    }
    stop(&fixture, monitor);
}

#[test]
fn many_at_once_and_the_end_of_the_container() {
    let fixture = Fixture::new("exec-many", WAITS);
    let monitor = running(&fixture);
    let children: Vec<_> = (0..20)
        .map(|number| {
            exec(&fixture, &[], &["sh", "-c", &format!("sleep 0.3; echo {number}; exit {number}")]).spawn().unwrap()
        })
        .collect();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(number as i32), "{}", text_of(&output.stderr));
        assert_eq!(text_of(&output.stdout), format!("{number}\n"));
    }
    // A client may ask for several, and hears of the end of each, and nobody else's.
    let connect = || Client::connect(&fixture.dir.join("state"), &fixture.id).unwrap().unwrap();
    let (mut client, mut other) = (connect(), connect());
    let process = |status: &str| {
        let args = ["sh", "-c", &format!("exit {status}")].map(str::to_owned).to_vec();
        Request::Exec(ExecProcess { args, ..ExecProcess::default() })
    };
    let numbers: Vec<_> = ["3", "4"].iter().map(|status| client.call(process(status)).unwrap().0.exec).collect();
    other.call(process("5")).unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        if let Some(Event::ExecEnded { exec, status, .. }) = client.next_event().unwrap() {
            ended.push((Some(exec), status));
        }
    }
    ended.sort();
    assert_eq!(ended, [(numbers[0], Some(3)), (numbers[1], Some(4))]);
    assert!(client.call(Request::Exec(ExecProcess::default())).unwrap_err().chain().contains("no command"));
    // One that runs ends with the container.
    let last = exec(&fixture, &[], &["sh", "-c", "touch /data/last; sleep 60"]).spawn().unwrap();
    fixture.wait_for("last");
    stop(&fixture, monitor);
    assert_eq!(last.wait_with_output().unwrap().status.code(), Some(137));
}

#[test]
fn without_a_pid_namespace_nothing_is_left() {
    let mut fixture = Fixture::new("exec-hostpid", WAITS);
    let namespaces = fixture.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    fixture.config["process"]["capabilities"] = json!({});
    let monitor = running(&fixture);
    // Nobody else's.
    let sleep = format!("sleep 60{}", std::process::id());
    let child = exec(&fixture, &[], &["sh", "-c", &format!("touch /data/last; exec {sleep}")]).spawn().unwrap();
    fixture.wait_for("last");
    let mut client = Client::connect(&fixture.dir.join("state"), &fixture.id).unwrap().unwrap();
    assert_eq!(client.call(Request::Status).unwrap().0.status.unwrap().state, State::Running);
    stop(&fixture, monitor);
    until("its end", || !common::host("pgrep", &["-f", &format!("^{sleep}$")]).status.success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(137));
}
