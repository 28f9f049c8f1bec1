//! firn-init as process 1 of real pid namespaces, with real signals.

use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const INIT: &str = env!("CARGO_BIN_EXE_firn-init");

/// Longer than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that goes with the test.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("firn-init-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("make temporary directory");
        Self(path)
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("utf-8").to_owned()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pid namespace whose process 1 is firn-init.
struct Container(Child);

impl Container {
    fn start(args: &[&str]) -> Self {
        Self(command(args).spawn().expect("start unshare"))
    }

    /// firn-init's pid as seen from here.
    fn pid(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        until(|| {
            let pid = std::fs::read_to_string(&children).ok()?.trim().to_owned();
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            (exe == *INIT).then_some(pid)
        })
    }

    fn signal(&self, signal: &str) {
        send(&self.pid(), signal);
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("wait for unshare") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "container did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn code(&mut self) -> i32 {
        self.wait().code().expect("an exit status")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // --kill-child takes the namespace along.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", INIT]).args(args);
    command.stdin(Stdio::null()).env_remove("NOTIFY_SOCKET");
    command
}

fn is_root() -> bool {
    std::fs::read_dir("/proc/1/fd").is_ok()
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("run unshare")
}

fn send(pid: &str, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, pid]).status().expect("run kill");
    assert!(sent.success(), "kill -s {signal} {pid}");
}

fn until<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "condition never came true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exists(path: &str) {
    until(|| std::fs::exists(path).ok()?.then_some(()));
}

#[test]
fn refuses_to_be_anything_but_process_1() {
    let output = Command::new(INIT).args(["--", "true"]).output().expect("run firn-init");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with("firn-init: error: not process 1 (this is process "), "{message}");
}

#[test]
fn exits_with_the_status_of_the_command() {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 133", 133),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        // death by SIGTRAP would otherwise look like a wish to restart
        ("kill -TRAP $$", 1),
    ] {
        assert_eq!(run(&["--", "/bin/sh", "-c", script]).status.code(), Some(status), "{script}");
    }
}

#[test]
fn a_command_without_slash_is_looked_up_in_path() {
    assert_eq!(run(&["true"]).status.code(), Some(0));
    let missing = run(&["no-such-command-here"]);
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(
        String::from_utf8_lossy(&missing.stderr),
        "firn-init: error: start \"no-such-command-here\": executable file not found in $PATH\n"
    );
    let absolute = run(&["/no/such"]);
    assert_eq!(absolute.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&absolute.stderr).contains("No such file or directory"));
    let unexecutable = run(&["/etc/passwd"]);
    assert_eq!(unexecutable.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&unexecutable.stderr).contains("Permission denied"));
}

#[test]
fn a_missing_interpreter_is_told_from_a_missing_file() {
    use std::os::unix::fs::PermissionsExt;
    let temp = Temp::new("interpreter");
    let script = temp.path("script");
    std::fs::write(&script, "#!/no/such/sh\n").expect("write script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod");
    let output = run(&[&script]);
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the interpreter that it names"));
}

#[test]
fn stop_signals_end_everything_with_their_status() {
    for (signal, status) in [("37", 0), ("38", 0), ("39", 133), ("INT", 133)] {
        let temp = Temp::new(&format!("stop-{signal}"));
        let mut container = Container::start(&[
            "--grace",
            "15",
            "--",
            "/bin/sh",
            "-c",
            &format!("sleep 1000 & trap 'exit 9' TERM; touch {}; wait", temp.path("up")),
        ]);
        exists(&temp.path("up"));
        let asked = Instant::now();
        container.signal(signal);
        assert_eq!(container.code(), status, "signal {signal}");
        assert!(asked.elapsed() < Duration::from_secs(5), "waited for the grace on {signal}");
    }
}

#[test]
fn immediate_signals_do_not_wait() {
    for (signal, status) in [("47", 0), ("48", 0), ("49", 133)] {
        let temp = Temp::new(&format!("now-{signal}"));
        let script = format!("trap '' TERM; touch {}; sleep 1000; sleep 1000", temp.path("up"));
        let mut container = Container::start(&["--grace=100", "--", "/bin/sh", "-c", &script]);
        exists(&temp.path("up"));
        container.signal(signal);
        assert_eq!(container.code(), status, "signal {signal}");
    }
}

#[test]
fn a_command_that_ignores_term_is_killed_after_the_grace() {
    for (signal, status) in [("37", 0), ("39", 133), ("TERM", 137)] {
        let temp = Temp::new(&format!("stubborn-{signal}"));
        let script = format!("trap '' TERM; touch {}; while :; do sleep 0.1; done", temp.path("up"));
        let mut container = Container::start(&["--grace=3", "--", "/bin/sh", "-c", &script]);
        exists(&temp.path("up"));
        let asked = Instant::now();
        container.signal(signal);
        // Asking again late in the grace, which is a time and no event, must not put the end off.
        std::thread::sleep(Duration::from_millis(2500).saturating_sub(asked.elapsed()));
        container.signal(signal);
        assert_eq!(container.code(), status, "signal {signal}");
        let took = asked.elapsed();
        assert!(took >= Duration::from_millis(2950), "{signal}: killed after {took:?}");
        assert!(took < Duration::from_millis(5500), "{signal}: killed after {took:?}");
    }
}

#[test]
fn term_stops_the_command_and_passes_its_status_on() {
    let temp = Temp::new("term");
    for (name, trap, status) in
        [("own", "trap 'exit 5' TERM", 5), ("none", ":", 143), ("again", "trap 'exit 133' TERM", 133)]
    {
        let script = format!("{trap}; touch {}; while :; do sleep 0.05; done", temp.path(name));
        let mut container = Container::start(&["--", "/bin/sh", "-c", &script]);
        exists(&temp.path(name));
        container.signal("TERM");
        assert_eq!(container.code(), status, "{name}");
    }
}

#[test]
fn term_goes_to_the_command_first() {
    let temp = Temp::new("order");
    // The command needs its helper until it has ended in its own order.
    let script = format!(
        "sh -c 'trap \"echo helper >>{log}; exit\" TERM; touch {up}; while :; do sleep 0.02; done' & \
         trap 'sleep 0.5; echo command >>{log}; exit 0' TERM; while :; do sleep 0.02; done",
        log = temp.path("log"),
        up = temp.path("up"),
    );
    let mut container = Container::start(&["--", "/bin/sh", "-c", &script]);
    exists(&temp.path("up"));
    container.signal("TERM");
    assert_eq!(container.code(), 0);
    let log = std::fs::read_to_string(temp.path("log")).expect("log");
    assert_eq!(log, "command\nhelper\n");
}

#[test]
fn a_stopped_command_can_be_shut_down() {
    let temp = Temp::new("stopped");
    let script = format!("touch {}; kill -STOP $$; sleep 1000", temp.path("up"));
    let mut container = Container::start(&["--grace=15", "--", "/bin/sh", "-c", &script]);
    exists(&temp.path("up"));
    let asked = Instant::now();
    container.signal("37");
    assert_eq!(container.code(), 0);
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn other_signals_reach_the_command() {
    for signal in ["HUP", "USR1", "USR2", "WINCH", "QUIT", "CONT", "36", "64"] {
        let temp = Temp::new(&format!("forward-{signal}"));
        // dash knows the numbers of real-time signals only
        let script = format!("trap 'exit 42' {signal}; touch {}; while :; do sleep 0.02; done", temp.path("up"));
        let mut container = Container::start(&["--", "/bin/sh", "-c", &script]);
        exists(&temp.path("up"));
        container.signal(signal);
        assert_eq!(container.code(), 42, "{signal}");
    }
}

#[test]
fn orphans_are_reaped() {
    let temp = Temp::new("orphans");
    // Twenty orphans that end at once; then only the command is left among process 1's children.
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (sleep 0.05 &) ; done; \
         touch {}; exec sleep 1000",
        temp.path("up")
    );
    let mut container = Container::start(&["--", "/bin/sh", "-c", &script]);
    exists(&temp.path("up"));
    let pid = container.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    until(|| (std::fs::read_to_string(&children).ok()?.split_whitespace().count() == 1).then_some(()));
    container.signal("TERM");
    assert_eq!(container.code(), 128 + 15);
}

#[test]
fn processes_that_outlive_the_command_are_asked_and_then_killed() {
    let temp = Temp::new("leftovers");
    let script = format!(
        "(trap 'touch {asked}; exit' TERM; touch {up}; while :; do sleep 0.02; done) & \
         (trap '' TERM; exec sleep 1000) & while ! test -e {up}; do sleep 0.02; done; exit 3",
        asked = temp.path("asked"),
        up = temp.path("up"),
    );
    let start = Instant::now();
    assert_eq!(run(&["--grace=0.5", "--", "/bin/sh", "-c", &script]).status.code(), Some(3));
    assert!(std::fs::exists(temp.path("asked")).expect("stat"));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn tells_when_it_is_ready_and_when_it_stops() {
    let temp = Temp::new("notify");
    let path = temp.path("socket");
    let abstract_name = format!("firn-init-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("abstract address");
    for (socket, name) in [
        (UnixDatagram::bind(&path).expect("bind"), path.clone()),
        (UnixDatagram::bind_addr(&address).expect("bind"), format!("@{abstract_name}")),
    ] {
        socket.set_read_timeout(Some(PATIENCE)).expect("set timeout");
        let script = "test -z \"$NOTIFY_SOCKET\" && exec sleep 1000";
        let mut container =
            Container(command(&["--", "/bin/sh", "-c", script]).env("NOTIFY_SOCKET", &name).spawn().expect("start"));
        assert_eq!(receive(&socket), "READY=1");
        container.signal("37");
        assert_eq!(receive(&socket), "STOPPING=1");
        assert_eq!(container.code(), 0);
    }
}

#[test]
fn is_not_ready_when_the_command_does_not_start() {
    let temp = Temp::new("unready");
    let socket = UnixDatagram::bind(temp.path("socket")).expect("bind");
    let status = command(&["/no/such"]).env("NOTIFY_SOCKET", temp.path("socket")).status().expect("run");
    assert_eq!(status.code(), Some(127));
    socket.set_nonblocking(true).expect("set nonblocking");
    assert!(socket.recv(&mut [0; 64]).is_err());
}

#[test]
fn leaves_the_socket_to_a_command_that_notifies_itself() {
    let temp = Temp::new("notify-command");
    let socket = UnixDatagram::bind(temp.path("socket")).expect("bind");
    let script = format!("test \"$NOTIFY_SOCKET\" = {}", temp.path("socket"));
    let status = command(&["--notify=command", "--", "/bin/sh", "-c", &script])
        .env("NOTIFY_SOCKET", temp.path("socket"))
        .status()
        .expect("run");
    assert_eq!(status.code(), Some(0));
    socket.set_nonblocking(true).expect("set nonblocking");
    let mut said = [0; 64];
    while let Ok(length) = socket.recv(&mut said) {
        assert_ne!(&said[..length], b"READY=1");
    }
}

#[test]
fn a_manager_that_has_gone_is_no_reason_to_end() {
    let output = command(&["true"]).env("NOTIFY_SOCKET", "/no/such/socket").output().expect("run");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("firn-init: warning: send READY=1"));
}

#[test]
fn the_command_has_no_blocked_or_ignored_signals() {
    let output = run(&["--", "/bin/cat", "/proc/self/status"]);
    // The C library keeps 32 and 33 to itself; nobody can reset them through it.
    let reserved = 0b11 << 31;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(("SigBlk" | "SigIgn", mask)) = line.split_once(":\t") {
            let mask = u64::from_str_radix(mask, 16).expect("a mask");
            assert_eq!(mask & !reserved, 0, "{line}");
        }
    }
}

#[test]
fn the_command_owns_the_terminal() {
    // script(1) makes the terminal; field 5 of stat is the process group,
    // field 8 the terminal's foreground group.
    let inside = "read -r pid name state ppid group session tty front rest </proc/self/stat; \
                  test $group = $front && echo foreground";
    let user = if is_root() { "" } else { "--user --map-root-user" };
    let line = format!("unshare {user} --pid --fork --kill-child --mount-proc {INIT} -- sh -c '{inside}'");
    let mut script = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run script");
    let mut output = String::new();
    script.stdout.take().expect("stdout").read_to_string(&mut output).expect("read");
    assert!(script.wait().expect("wait").success());
    assert_eq!(output.trim(), "foreground");
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).expect("a message");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
