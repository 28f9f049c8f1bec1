//! The caller's standard streams: what the container may do with them, and what is
//! left of that afterwards.

use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, Terminal, wait_until};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

fn running(scratch: &Scratch) -> Runtime {
    let bundle = Bundle::new(scratch).shell("sleep 1000").set("/root/readonly", serde_json::json!(false)).write();
    // Where the container's user can write what it has got.
    let file = bundle.root().join("stolen");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let firn = Runtime::firn(scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn
}

fn owner(fd: impl AsFd) -> u32 {
    rustix::fs::fstat(fd).unwrap().st_uid
}

/// The command on a terminal, of which the other end is kept.
fn on_terminal(line: &Command, other: &OwnedFd) -> i32 {
    let stream = || Stdio::from(other.try_clone().unwrap());
    let mut setsid = Command::new("setsid");
    setsid.args(["--ctty", "--wait"]).arg(line.get_program()).args(line.get_args());
    setsid.stdin(stream()).stdout(stream()).stderr(stream()).status().unwrap().code().unwrap()
}

/// The next command of the caller's may be sudo, and what is typed a password.
#[test]
fn what_exec_leaves_behind_gets_nothing_of_the_callers_terminal() {
    let scratch = Scratch::new("leftread");
    let firn = running(&scratch);
    let stolen = scratch.join("bundle/rootfs/stolen");
    let (mut terminal, other) = Terminal::open();
    let before = owner(&other);
    let script = "exec 3<&0 4>&1; (trap '' HUP PIPE; while read line <&3; do echo $line >> /stolen; done
        echo typed for you >&4; echo end >> /stolen) & echo started";
    let exec = firn.command(&["exec", "--user", "1000", firn.id(), "sh", "-c", script]);
    assert_eq!(on_terminal(&exec, &other), 0);
    terminal.expect("started");
    assert_eq!(owner(&other), before, "the terminal has another owner");
    terminal.send("secret\n");
    wait_until("it has nothing to read any more", || std::fs::read_to_string(&stolen).unwrap().contains("end"));
    assert_eq!(std::fs::read_to_string(&stolen).unwrap(), "end\n", "what it read");
    let mut line = [0u8; 100];
    let length = rustix::io::read(&other, &mut line).unwrap();
    assert_eq!(&line[..length], b"secret\n", "the line is the caller's");
    terminal.expect("secret\r\n");
    drop(other);
    assert_eq!(terminal.rest(), "", "what it wrote");
}

#[test]
fn a_run_without_a_terminal_has_none() {
    let scratch = Scratch::new("runnotty");
    let script = "for n in 0 1 2; do readlink /proc/self/fd/$n; done > /dev/stderr; tty; exit 4";
    let bundle =
        Bundle::new(&scratch).shell(script).set("/process/user", serde_json::json!({"uid": 1000, "gid": 1000})).write();
    let firn = Runtime::firn(&scratch);
    let (mut terminal, other) = Terminal::open();
    let before = owner(&other);
    let run = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    assert_eq!(on_terminal(&run, &other), 4);
    let text = terminal.expect("not a tty");
    assert_eq!(text.matches("pipe:").count(), 3, "{text}");
    assert_eq!(owner(&other), before);
    firn.left_nothing();
}

/// As a user that may open none of the caller's.
fn as_user(firn: &Runtime, script: &str, streams: [Stdio; 3]) -> Output {
    let [stdin, stdout, stderr] = streams;
    let mut exec = firn.command(&["exec", "--user", "1000", firn.id(), "sh", "-c", script]);
    let output = exec.stdin(stdin).stdout(stdout).stderr(stderr).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output { code: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn private(path: &Path, text: &str) -> File {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new().read(true).append(true).open(path).unwrap()
}

#[test]
fn files_and_pipes_of_the_callers_keep_their_owner() {
    let scratch = Scratch::new("streamowner");
    let firn = running(&scratch);
    let (input, log) = (scratch.join("input"), scratch.join("log"));
    let file = |path| private(path, "one\ntwo\n");
    let script = "read line; echo $line; echo error >&2";
    let output = as_user(&firn, script, [file(&input).into(), file(&log).into(), Stdio::piped()]);
    assert_eq!(output.succeeds().stderr, "error\n");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\none\n");
    for path in [&input, &log] {
        assert_eq!(std::fs::metadata(path).unwrap().uid(), 0, "{}", path.display());
    }
    let (reader, writer) = std::io::pipe().unwrap();
    let (kept, out) = (reader.try_clone().unwrap(), writer.try_clone().unwrap());
    as_user(&firn, "echo words", [reader.into(), out.into(), Stdio::null()]).succeeds();
    assert_eq!((owner(&kept), owner(&writer)), (0, 0), "the pipe has another owner");
    // Detached, pipes are the container's, as under runc, and a file is not.
    let line = |streams: [Stdio; 3]| {
        let mut exec = firn.command(&["exec", "--detach", "--user", "1000", firn.id(), "true"]);
        let [stdin, stdout, stderr] = streams;
        exec.stdin(stdin).stdout(stdout).stderr(stderr).status().unwrap().success()
    };
    assert!(line([file(&input).into(), writer.try_clone().unwrap().into(), Stdio::null()]));
    assert_eq!(std::fs::metadata(&input).unwrap().uid(), 0);
    assert_eq!(owner(&writer), 1000);
}

/// In a pid namespace of its own nothing outlives init, and so no pipe of firn's: its
/// output can be opened again, as by servers that log there.
#[test]
fn the_output_of_init_can_be_opened_again() {
    let scratch = Scratch::new("streamagain");
    let script = "echo one > /proc/self/fd/1; echo error > /proc/self/fd/2";
    let user = serde_json::json!({"uid": 1000, "gid": 1000});
    let bundle = Bundle::new(&scratch).shell(script).set("/process/user", user).write();
    let firn = Runtime::firn(&scratch);
    let log = scratch.join("log");
    let mut run = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let output = run.stdout(private(&log, "")).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error\n");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\n");
    assert_eq!(std::fs::metadata(&log).unwrap().uid(), 0);
}

/// What an exec leaves behind writes on, as under runc, to a file or a pipe of the
/// caller's, whatever user it runs as: a pipe of firn's would end with the program.
#[test]
fn what_exec_leaves_behind_can_write_to_the_callers_file() {
    let scratch = Scratch::new("streamleft");
    let firn = running(&scratch);
    let log = scratch.join("log");
    let go = scratch.join("bundle/rootfs/go");
    let script = "(until [ -e /go ]; do sleep 0.01; done; echo out; echo error >&2) & echo first";
    let (reader, writer) = std::io::pipe().unwrap();
    let mut exec = firn.command(&["exec", "--user", "1000", firn.id(), "sh", "-c", script]);
    exec.stdin(Stdio::null()).stdout(private(&log, "")).stderr(writer);
    assert!(exec.status().unwrap().success());
    drop(exec);
    std::fs::write(&go, "").unwrap();
    assert_eq!(std::io::read_to_string(reader).unwrap(), "error\n");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "first\nout\n");
    assert_eq!(std::fs::metadata(&log).unwrap().uid(), 0);
}

/// Nothing lies between where nothing has to: the caller's pipe is the process's.
#[test]
fn pipes_pass_as_they_are_where_the_process_is_their_owner() {
    let scratch = Scratch::new("streampass");
    let firn = running(&scratch);
    let (reader, writer) = std::io::pipe().unwrap();
    let inode = rustix::fs::fstat(&writer).unwrap().st_ino;
    let mut exec = firn.command(&["exec", firn.id(), "readlink", "/proc/self/fd/1"]);
    assert!(exec.stdin(Stdio::null()).stdout(writer).status().unwrap().success());
    drop(exec);
    assert_eq!(std::io::read_to_string(reader).unwrap(), format!("pipe:[{inode}]\n"));
}

/// By a directory that is open, everything beside it can be reached.
#[test]
fn a_directory_is_no_standard_stream() {
    let scratch = Scratch::new("streamdir");
    let firn = running(&scratch);
    for options in [&["exec"][..], &["exec", "--detach"]] {
        let mut exec = firn.command(&[options, &[firn.id(), "cat", "/proc/self/fd/0/etc/hostname"]].concat());
        let output = exec.stdin(File::open("/").unwrap()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("descriptor 0 is a directory"), "{output:?}");
    }
}
