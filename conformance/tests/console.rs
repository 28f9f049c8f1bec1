//! Terminals: over the console socket as engines use them, and in the
//! foreground as people do.

use firn_conformance::harness::{Bundle, ConsoleSocket, Runtime, Scratch, Terminal, command, wait_until};
use serde_json::json;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

fn with_terminal(scratch: &Scratch) -> Bundle {
    Bundle::new(scratch).set("/process/terminal", json!(true))
}

/// `create` and `start` with a console socket.
fn started(scratch: &Scratch, bundle: &Bundle) -> (Runtime, Terminal) {
    let socket = ConsoleSocket::listen(scratch, "console");
    let firn = Runtime::firn(scratch);
    firn.create_with(bundle, &["--console-socket", &socket.path.to_string_lossy()]).succeeds();
    let terminal = socket.receive();
    firn.start().succeeds();
    (firn, terminal)
}

#[test]
fn the_master_of_the_terminal_comes_over_the_console_socket() {
    let scratch = Scratch::new("console");
    let script = "tty; stty size; for n in 0 1 2; do readlink /proc/self/fd/$n; done
        ls -l /dev/console /dev/pts/0 | awk '{print $1, $3, $4, $5, $6}'; echo to the console > /dev/console
        echo to the tty > /dev/tty; echo to stderr >&2; set -- $(cat /proc/$$/stat); echo session $6 group $8";
    let bundle = with_terminal(&scratch)
        .shell(script)
        .set("/process/consoleSize", json!({"height": 33, "width": 111}))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .write();
    let (firn, terminal) = started(&scratch, &bundle);
    let text = terminal.rest();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..5], ["/dev/pts/0", "33 111", "/dev/pts/0", "/dev/pts/0", "/dev/pts/0"], "{text}");
    // The user's, of the group of devpts, so that write(1) works.
    assert_eq!(lines[5], "crw--w---- 1000 5 136, 0".replace("1000", "app"), "{text}");
    assert_eq!(lines[6], lines[5], "{text}");
    assert_eq!(lines[7..], ["to the console", "to the tty", "to stderr", "session 1 group 1"], "{text}");
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn a_shell_on_the_terminal_has_job_control() {
    let scratch = Scratch::new("jobs");
    let bundle =
        with_terminal(&scratch).args(&["sh", "-i"]).set("/process/env", json!(["PATH=/bin", "PS1=ready> "])).write();
    let (firn, mut terminal) = started(&scratch, &bundle);
    assert!(!terminal.expect("ready> ").contains("job control turned off"));
    terminal.send("sleep 1000\n");
    terminal.expect("sleep 1000");
    // The keys for interrupt and suspend reach the program in the foreground.
    wait_until("sleep is in the foreground", || terminal.foreground().contains("sleep\x001000"));
    terminal.send("\x03");
    terminal.expect("ready> ");
    terminal.send("sleep 1000\n");
    terminal.expect("sleep 1000");
    wait_until("sleep is in the foreground", || terminal.foreground().contains("sleep\x001000"));
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.send("kill -9 %1; wait; echo code $((40+2))\n");
    terminal.expect("code 42");
    terminal.resize(11, 22);
    terminal.send("stty size\n");
    terminal.expect("11 22");
    terminal.send("exit 4\n");
    terminal.rest();
    firn.wait_for("stopped");
}

#[test]
fn the_end_of_the_terminal_is_the_end_of_the_shell() {
    let scratch = Scratch::new("hangup");
    let bundle = with_terminal(&scratch).args(&["sh", "-i"]).write();
    let (firn, terminal) = started(&scratch, &bundle);
    drop(terminal);
    firn.wait_for("stopped");
}

#[test]
fn exec_gives_a_terminal_of_its_own() {
    let scratch = Scratch::new("exectty");
    let bundle = with_terminal(&scratch).shell("sleep 1000").write();
    let (firn, _terminal) = started(&scratch, &bundle);
    let socket = ConsoleSocket::listen(&scratch, "exec");
    let process = json!({
        "args": ["sh", "-c", "tty; stty size; id -u; ls -l $(tty) | awk '{print $3}'"],
        "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 1000, "gid": 1000}, "terminal": true,
        "consoleSize": {"height": 7, "width": 8}
    });
    let file = scratch.write("process.json", &process.to_string());
    let (file, path) = (file.to_string_lossy(), socket.path.to_string_lossy());
    firn.call(&["exec", "--detach", "--process", &file, "--console-socket", &path, firn.id()]).succeeds();
    assert_eq!(socket.receive().rest(), "/dev/pts/1\r\n7 8\r\n1000\r\napp\r\n");
}

#[test]
fn a_terminal_and_its_socket_must_both_be_there_or_neither() {
    let scratch = Scratch::new("badtty");
    let firn = Runtime::firn(&scratch);
    let bundle = with_terminal(&scratch).shell("sleep 1000").write();
    let output = firn.create(&bundle).fails(1);
    assert!(output.stderr.contains("--console-socket"), "{output:?}");
    let run = ["run", "--detach", "--bundle", &bundle.path.to_string_lossy(), firn.id()].map(String::from);
    assert!(firn.call(&run).fails(1).stderr.contains("--console-socket"));
    let nowhere = scratch.join("nowhere");
    let output = firn.create_with(&bundle, &["--console-socket", &nowhere.to_string_lossy()]).fails(1);
    assert!(output.stderr.contains("nowhere") && output.stderr.contains("o such file"), "{output:?}");
    firn.left_nothing();
    let bundle = bundle.set("/process/terminal", json!(false)).write();
    let socket = ConsoleSocket::listen(&scratch, "console");
    let output = firn.create_with(&bundle, &["--console-socket", &socket.path.to_string_lossy()]).fails(1);
    assert!(output.stderr.contains("process.terminal is false"), "{output:?}");
    firn.left_nothing();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let output = firn.call(&["exec", "--detach", "--tty", firn.id(), "true"]);
    assert!(output.code != 0 && output.stderr.contains("--console-socket"), "{output:?}");
}

/// A command with a terminal of the test's as its controlling one.
struct Person {
    terminal: Terminal,
    child: Child,
    /// Kept, so that the terminal outlives the command.
    other: OwnedFd,
}

impl Person {
    fn new(line: &Command) -> Self {
        let (terminal, other) = Terminal::open();
        terminal.resize(40, 100);
        let stream = || Stdio::from(other.try_clone().unwrap());
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait"]).arg(line.get_program()).args(line.get_args());
        let child = setsid.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("start it on a terminal");
        Person { terminal, child, other }
    }

    fn code(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    fn local_flags(&self) -> rustix::termios::LocalModes {
        rustix::termios::tcgetattr(&self.other).unwrap().local_modes
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // Only where a test has failed does it still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_in_the_foreground_stands_in_for_the_terminal() {
    let scratch = Scratch::new("runtty");
    let script =
        "trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; tty; stty size; read line; echo got $line
        while :; do sleep 0.05; done";
    let bundle = with_terminal(&scratch).shell(script).write();
    let firn = Runtime::firn(&scratch);
    let mut person = Person::new(&firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    let before = person.local_flags();
    person.terminal.expect("/dev/pts/0\r\n40 100\r\n");
    // Ours is raw meanwhile: the container's does the echo and the keys.
    assert!(!person.local_flags().contains(rustix::termios::LocalModes::ECHO));
    person.terminal.send("some words\n");
    person.terminal.expect("got some words");
    person.terminal.resize(50, 120);
    person.terminal.expect("50 120");
    person.terminal.send("\x03");
    person.terminal.expect("interrupted");
    assert_eq!(person.code(), 5);
    assert_eq!(person.local_flags(), before, "the terminal was not put back");
    firn.left_nothing();
}

#[test]
fn an_exec_in_the_foreground_stands_in_for_the_terminal() {
    let scratch = Scratch::new("execfg");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let script = "tty; stty size; read line; echo got $line; exit 7";
    let mut person = Person::new(&firn.command(&["exec", "-t", firn.id(), "sh", "-c", script]));
    person.terminal.expect("/dev/pts/0\r\n40 100\r\n");
    person.terminal.send("words\n");
    person.terminal.expect("got words");
    assert_eq!(person.code(), 7);
    assert!(person.local_flags().contains(rustix::termios::LocalModes::ECHO));
    // What fails before the program runs leaves the terminal as it was.
    let mut person = Person::new(&firn.command(&["exec", "-t", firn.id(), "nosuch"]));
    assert_eq!(person.code(), 255);
    assert!(person.local_flags().contains(rustix::termios::LocalModes::ECHO));
    person.terminal.expect("executable file not found in $PATH");
}

/// All of the output arrives, however much and however the program ends.
#[test]
fn the_last_output_of_a_program_arrives() {
    let scratch = Scratch::new("ttyout");
    let bundle = with_terminal(&scratch).shell("seq 1 30000; printf the-end; kill -9 $$; exit 3").write();
    let firn = Runtime::firn(&scratch);
    let mut person = Person::new(&firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    let text = person.terminal.expect("the-end");
    assert_eq!(person.code(), 3);
    assert_eq!(text.lines().count(), 30001);
}

/// Much input for a program that answers as much: neither side waits for the
/// other for ever.
#[test]
fn much_input_and_much_output_do_not_block_each_other() {
    let scratch = Scratch::new("ttyboth");
    let bundle =
        with_terminal(&scratch).shell("stty raw -echo; echo ready; head -c 300000 | cat; echo the-end").write();
    let firn = Runtime::firn(&scratch);
    let mut person = Person::new(&firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    person.terminal.expect("ready");
    let writer = Terminal { master: person.terminal.master.try_clone().unwrap(), text: String::new() };
    let piece = "0123456789".repeat(99) + "123456789x";
    let all = piece.repeat(300);
    let writing = std::thread::spawn(move || writer.send(&all));
    for number in 0..300 {
        // A slow reader at first, so that every buffer on the way is full.
        std::thread::sleep(std::time::Duration::from_millis(if number < 10 { 100 } else { 0 }));
        assert_eq!(person.terminal.expect("x").trim_start(), piece);
    }
    person.terminal.expect("the-end");
    writing.join().unwrap();
    assert_eq!(person.code(), 0);
}

/// Standard input that is no terminal is passed on to its end.
#[test]
fn a_pipe_as_input_ends_as_the_end_of_file_key() {
    let scratch = Scratch::new("ttypipe");
    let bundle = with_terminal(&scratch).shell("stty -echo; cat; echo after").write();
    let firn = Runtime::firn(&scratch);
    let file = scratch.write("input", "from a file\n");
    let line = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let output = { line }.stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The container's terminal leaves the ends of lines alone: ours has its own way.
    assert!(text.contains("from a file\n") && text.ends_with("after\n") && !text.contains("\n\r"), "{text:?}");
    assert!(output.status.success());
    firn.left_nothing();
}

/// What the program of an exec leaves running does not hold its terminal.
#[test]
fn an_exec_ends_with_its_program_and_not_with_what_that_left_behind() {
    let scratch = Scratch::new("execleft");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let script = "trap '' HUP; sleep 1000 & echo started; exit 6";
    let mut person = Person::new(&firn.command(&["exec", "-t", firn.id(), "sh", "-c", script]));
    person.terminal.expect("started");
    // It does not wait for what its program has left behind.
    let mut status = None;
    wait_until("exec has ended", || {
        status = person.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(6));
}

/// A terminal that goes away – a connection that breaks – ends what runs by its
/// hangup, and what ignores that goes on without costing anything.
#[test]
fn a_terminal_that_goes_away_is_not_asked_again_and_again() {
    let scratch = Scratch::new("ttygone");
    let bundle = with_terminal(&scratch).shell("trap '' HUP; echo ready; sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    let line = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let (mut terminal, other) = Terminal::open();
    let stream = || Stdio::from(other.try_clone().unwrap());
    let mut setsid = Command::new("setsid");
    setsid.args(["--ctty", "--wait"]).arg(line.get_program()).args(line.get_args());
    let mut child = setsid.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    terminal.expect("ready");
    drop((terminal, other, setsid));
    // Long enough for an endless loop to show in its processor time.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime, in hundredths of a second, proc_pid_stat(5).
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    child.wait().unwrap();
    assert!(ticks < 20, "{ticks} hundredths of a second of processor time");
    firn.left_nothing();
}

/// The command in the foreground does not keep others from its container.
#[test]
fn what_runs_in_the_foreground_can_be_ended_from_elsewhere() {
    let scratch = Scratch::new("fgdelete");
    let bundle = with_terminal(&scratch).shell("echo ready; sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    let mut person = Person::new(&firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    person.terminal.expect("ready");
    for verb in [&["pause"][..], &["resume"], &["delete", "--force"]] {
        let line = firn.command(&[verb, &[firn.id()]].concat());
        let mut timeout = Command::new("timeout");
        timeout.arg("5").arg(line.get_program()).args(line.get_args());
        assert_eq!(command(&mut timeout).code, 0, "{verb:?}");
    }
    assert_eq!(person.code(), 137);
    firn.left_nothing();
}

/// Without a terminal of its own, the process has pipes where the caller has one:
/// keys, ends of input, both outputs in their order and the exit status pass all
/// the same.
#[test]
fn without_a_terminal_a_persons_streams_pass_through_pipes() {
    let scratch = Scratch::new("nottty");
    let script = "for n in 0 1 2; do [ -t $n ] && echo terminal $n; done; trap 'echo interrupted; exit 5' INT
        read line; echo got $line; for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done
        cat; echo input ended; while :; do sleep 0.05; done";
    let bundle = Bundle::new(&scratch).shell(script).write();
    let firn = Runtime::firn(&scratch);
    let mut person = Person::new(&firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    person.terminal.send("some words\n");
    assert_eq!(person.terminal.expect("got some words\r\n"), "some words\r\ngot some words\r\n");
    let lines: String = (1..6).map(|n| format!("out {n}\r\nerr {n}\r\n")).collect();
    assert_eq!(person.terminal.expect("err 5\r\n"), lines);
    person.terminal.send("copied\n");
    person.terminal.expect("copied\r\ncopied\r\n");
    person.terminal.send("\x04");
    person.terminal.expect("input ended");
    person.terminal.send("\x03");
    person.terminal.expect("interrupted");
    assert_eq!(person.code(), 5);
    firn.left_nothing();
}

#[test]
fn the_last_output_arrives_through_pipes_too() {
    let scratch = Scratch::new("pipeout");
    let bundle = Bundle::new(&scratch).shell("seq 1 30000; printf the-end; kill -9 $$; exit 3").write();
    let firn = Runtime::firn(&scratch);
    let mut person = Person::new(&firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    let text = person.terminal.expect("the-end");
    assert_eq!(person.code(), 3);
    assert_eq!(text.lines().count(), 30001);
}

/// What runs in the background reads nothing that is typed for the shell, and gets
/// what is typed once it is in the foreground.
#[test]
fn input_in_the_background_is_the_shells() {
    let scratch = Scratch::new("background");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let exec = firn.command(&["exec", firn.id(), "sh", "-c", "echo runs; cat; exit 6"]);
    let words: Vec<_> = [exec.get_program()].into_iter().chain(exec.get_args()).collect();
    let mut shell = Command::new("bash");
    let script = "set -m; \"$@\" & for n in 1 2 3; do read line; echo shell got $line; done; fg > /dev/null; exit $?";
    let mut person = Person::new(shell.args(["-c", script, "bash"]).args(words));
    person.terminal.expect("runs");
    for word in ["one", "two", "three"] {
        person.terminal.send(&format!("{word}\n"));
        person.terminal.expect(&format!("shell got {word}\r\n"));
    }
    person.terminal.send("for cat\n");
    person.terminal.expect("for cat\r\nfor cat\r\n");
    person.terminal.send("\x04");
    assert_eq!(person.code(), 6);
}

/// A terminal that nobody reads from, or that is stopped (Ctrl-S), does not keep the
/// signals that are sent to end firn from what runs.
#[test]
fn signals_pass_while_the_terminal_takes_no_output() {
    let endless = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done";
    let last = "echo the last words; exit 9";
    for (tty, stopped, script) in
        [(false, false, endless), (true, false, endless), (false, true, last), (true, true, last)]
    {
        let scratch = Scratch::new("ttyfull");
        let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
        let firn = Runtime::firn(&scratch);
        firn.create(&bundle).succeeds();
        firn.start().succeeds();
        let pid_file = scratch.join("pid");
        let mut line = firn.command(&["exec", "--pid-file"]);
        line.arg(&pid_file).args(tty.then_some("-t")).args([firn.id(), "sh", "-c", script]);
        let (_terminal, other) = Terminal::open();
        if stopped {
            rustix::termios::tcflow(&other, rustix::termios::Action::OOff).unwrap();
        }
        let stream = || Stdio::from(other.try_clone().unwrap());
        let mut exec = line.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let what = format!("with a terminal: {tty}, stopped: {stopped}");
        let pid = || std::fs::read_to_string(&pid_file).unwrap_or_default();
        wait_until(&what, || !pid().is_empty());
        if stopped {
            wait_until("the program has ended", || !std::path::Path::new("/proc").join(pid()).exists());
        } else {
            wait_until("nothing takes its output any more", || is_at_a_stop(&pid()));
        }
        let firn_pid = rustix::process::Pid::from_child(&exec);
        // Until it has done with what it had to say, for a moment, it need not hear us.
        let mut code = None;
        wait_until(&format!("firn has ended, {what}"), || {
            rustix::process::kill_process(firn_pid, rustix::process::Signal::TERM).unwrap();
            code = exec.try_wait().unwrap();
            code.is_some()
        });
        assert_eq!(code.unwrap().code(), Some(if stopped { 9 } else { 128 + 15 }), "{what}");
    }
}

/// Whether a process writes nothing for a moment.
fn is_at_a_stop(pid: &str) -> bool {
    let written = || std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let before = written();
    std::thread::sleep(std::time::Duration::from_millis(300));
    written() == before
}
