//! `checkpoint` and `restore` with a real criu.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::{Bundle, ConsoleSocket, Output, Runtime, Scratch, binary, busybox_root, command, skip};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Counts in a variable of its own, which only its memory has.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done";

/// Where criu does not work, whatever the runtime is.
fn lacks_criu() -> bool {
    // The release's own, against its own kernel.
    let works = Command::new("criu").arg("check").output().is_ok_and(|output| output.status.success());
    if !works {
        skip("`criu check` fails on this machine");
    }
    lacks_cgroup_v2() || !works
}

fn bundle(scratch: &Scratch, script: &str) -> Bundle {
    Bundle::new(scratch).shell(script).set("/root/readonly", json!(false))
}

fn count(root: &Path) -> u32 {
    for _ in 0..600 {
        if let Ok(number) = std::fs::read_to_string(root.join("tmp/count")).unwrap_or_default().trim().parse() {
            return number;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nothing counts");
}

#[track_caller]
fn counts_on_from(root: &Path, before: u32) {
    for _ in 0..100 {
        let now = count(root);
        assert!(now >= before, "it counts from the start again: {now} after {before}");
        if now > before + 3 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it does not count on from {before}");
}

/// Containers, their images, and criu's logs.
struct Place<'a> {
    firn: &'a Runtime,
    images: PathBuf,
    work: PathBuf,
    more: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn new(scratch: &Scratch, firn: &'a Runtime) -> Self {
        Place { firn, images: scratch.join("images"), work: scratch.join("work"), more: Vec::new() }
    }

    fn directories(&self) -> [&str; 4] {
        ["--image-path", self.images.to_str().unwrap(), "--work-path", self.work.to_str().unwrap()]
    }

    fn checkpoint(&self, options: &[&str]) -> Output {
        self.told(&[&self.more[..], &["checkpoint"], &self.directories(), options, &[self.firn.id()]].concat())
    }

    fn restore(&self, bundle: &Path, options: &[&str]) -> Output {
        let begin = ["restore", "--detach", "--bundle", bundle.to_str().unwrap()];
        self.told(&[&self.more[..], &begin, &self.directories(), options, &[self.firn.id()]].concat())
    }

    /// What a container keeps of the standard streams must not be a file of the
    /// host's.
    fn told(&self, args: &[&str]) -> Output {
        let log = self.firn.root().with_extension("told");
        let logged = [&["--log", log.to_str().unwrap()], args].concat();
        let mut line = self.firn.command(&logged);
        let status = line.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        let stderr = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        Output { code: status.code().unwrap_or(255), stdout: String::new(), stderr }
    }
}

fn begin(firn: &Runtime, bundle: &Bundle) {
    firn.create(bundle).succeeds();
    firn.start().succeeds();
}

#[test]
fn a_container_goes_on_where_it_was() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckpt");
    std::fs::write(scratch.join("file"), "from outside").unwrap();
    std::fs::create_dir_all(scratch.join("directory/below")).unwrap();
    let from = |name: &str| scratch.join(name).to_str().unwrap().to_owned();
    let bundle = bundle(&scratch, COUNTER)
        .mount(json!({"destination": "/data", "type": "bind", "source": from("directory"), "options": ["rbind"]}))
        .mount(json!({"destination": "/data/below/file", "type": "bind", "source": from("file"), "options": ["bind", "ro"]}))
        .mount(json!({"destination": "/link/file", "type": "bind", "source": from("file"), "options": ["bind", "ro"]}))
        .mount(json!({"destination": "/tmp/mem", "type": "tmpfs", "source": "tmpfs"}))
        .set("/linux/resources/pids", json!({"limit": 77}))
        .set("/linux/resources/memory", json!({"limit": 200 << 20}))
        .write();
    std::fs::create_dir(bundle.root().join("real")).unwrap();
    std::os::unix::fs::symlink("real", bundle.root().join("link")).unwrap();
    let firn = Runtime::firn(&scratch);
    let options = || {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        text.lines().find(|line| line.contains(" - cgroup2 ")).map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    let options_before = options();
    begin(&firn, &bundle);
    firn.exec(&["sh", "-c", "echo kept > /tmp/mem/kept"]).succeeds();
    let mounts = firn.exec(&["sh", "-c", "sort /proc/self/mounts | cut -d ' ' -f 2,3"]).succeeds().stdout;
    count(&bundle.root());
    let place = Place::new(&scratch, &firn);
    // Twice: what was restored can be saved again.
    for _ in 0..2 {
        place.checkpoint(&[]).succeeds();
        firn.left_nothing();
        let before = count(&bundle.root());
        let pid_file = scratch.join("pid");
        place.restore(&bundle.path, &["--pid-file", pid_file.to_str().unwrap()]).succeeds();
        assert_eq!(firn.status(), "running");
        assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), firn.state()["pid"].to_string());
        counts_on_from(&bundle.root(), before);
        let script =
            "cat /data/below/file /link/file /tmp/mem/kept; cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max";
        let output = firn.exec(&["sh", "-c", script]).succeeds().stdout;
        assert_eq!(output, format!("from outsidefrom outsidekept\n77\n{}\n", 200 << 20));
        let now = firn.exec(&["sh", "-c", "sort /proc/self/mounts | cut -d ' ' -f 2,3"]).succeeds().stdout;
        assert_eq!(now, mounts);
        // criu restores into a time namespace, which the config does not name.
        let namespaces = "for kind in cgroup ipc mnt net pid time uts; do \
            [ $(readlink /proc/1/ns/$kind) = $(readlink /proc/self/ns/$kind) ] || echo $kind; done";
        assert_eq!(firn.exec(&["sh", "-c", namespaces]).succeeds().stdout, "", "exec is not in init's namespaces");
        let masked = firn.exec(&["sh", "-c", "head -c 1 /proc/kcore | wc -c; echo x > /link/file || echo refused"]);
        assert_eq!(masked.stdout, "0\nrefused\n");
    }
    // Another user of criu puts them back at its own end.
    for _ in 0..600 {
        if options() == options_before {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(options(), options_before, "criu has changed the machine's cgroups");
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn a_container_may_run_on_and_be_saved_in_parts() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptparts");
    let bundle = bundle(&scratch, COUNTER).write();
    let firn = Runtime::firn(&scratch);
    begin(&firn, &bundle);
    count(&bundle.root());
    let mut place = Place::new(&scratch, &firn);
    place.checkpoint(&["--leave-running"]).succeeds();
    counts_on_from(&bundle.root(), count(&bundle.root()));
    let output = place.checkpoint(&["--parent-path", "/tmp"]).fails(1);
    assert!(output.stderr.contains("--parent-path must be relative"), "{output:?}");
    let output = place.checkpoint(&["--parent-path", "../nowhere"]).fails(1);
    assert!(output.stderr.contains("--parent-path"), "{output:?}");
    place.images = scratch.join("before");
    let output = place.checkpoint(&["--pre-dump"]);
    if output.code != 0 && output.stderr.contains("can't track changes of memory") {
        println!("not tried: --pre-dump, which this kernel can't do");
        return;
    }
    output.succeeds();
    counts_on_from(&bundle.root(), count(&bundle.root()));
    place.images = scratch.join("after");
    place.checkpoint(&["--parent-path", "../before"]).succeeds();
    assert!(place.images.join("parent").exists());
    let before = count(&bundle.root());
    place.restore(&bundle.path, &[]).succeeds();
    counts_on_from(&bundle.root(), before);
}

#[test]
fn standard_streams_are_the_new_ones() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptpipe");
    let bundle = bundle(&scratch, "while read line; do echo got $line; done; echo end; exit 9").write();
    let firn = Runtime::firn(&scratch);
    let path = bundle.path.to_str().unwrap();
    let piped = |args: &[&str]| {
        let mut line = firn.command(args);
        line.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let first = piped(&["run", "--bundle", path, firn.id()]);
    for _ in 0..200 {
        if firn.call(&["state", firn.id()]).stdout.contains("running") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let place = Place::new(&scratch, &firn);
    place.checkpoint(&[]).succeeds();
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(137));
    firn.left_nothing();
    // In the foreground, with the status of what was restored.
    let args = [&["restore", "--bundle", path], &place.directories()[..], &[firn.id()]].concat();
    let mut second = piped(&args);
    use std::io::Write;
    second.stdin.take().unwrap().write_all(b"word\n").unwrap();
    let output = second.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got word\nend\n", "{output:?}");
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    firn.left_nothing();
}

#[test]
fn a_terminal_comes_over_the_console_socket() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckpttty");
    let script = "stty -echo; echo ready; while read line; do echo got $line; done";
    let bundle = bundle(&scratch, script).set("/process/terminal", json!(true)).write();
    let firn = Runtime::firn(&scratch);
    let socket = ConsoleSocket::listen(&scratch, "first.sock");
    firn.create_with(&bundle, &["--console-socket", socket.path.to_str().unwrap()]).succeeds();
    firn.start().succeeds();
    let mut terminal = socket.receive();
    terminal.expect("ready");
    let place = Place::new(&scratch, &firn);
    place.checkpoint(&[]).succeeds();
    drop(terminal);
    let output = place.restore(&bundle.path, &[]).fails(1);
    assert!(output.stderr.contains("--console-socket"), "{output:?}");
    firn.left_nothing();
    let socket = ConsoleSocket::listen(&scratch, "second.sock");
    place.restore(&bundle.path, &["--console-socket", socket.path.to_str().unwrap()]).succeeds();
    let mut terminal = socket.receive();
    terminal.send("word\n");
    terminal.expect("got word");
}

/// Both ends are inside, on the loopback device.
const TALK: &str = r#"use IO::Socket::INET;
my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:7777") or die;
if (!fork) {
    my $client = IO::Socket::INET->new("127.0.0.1:7777") or die;
    while (1) { syswrite($client, "tick\n") or die; select(undef, undef, undef, 0.1) }
}
my $server = $listener->accept;
open(my $heard, ">", "/tmp/heard");
while (sysread($server, my $text, 99)) { syswrite($heard, $text) }"#;

#[test]
fn connections_stay_open_if_they_may() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckpttcp");
    let bundle = bundle(&scratch, "")
        .args(&["perl", "-e", TALK])
        .set("/root/path", json!("/srv/debian"))
        .mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}))
        .write();
    let firn = Runtime::firn(&scratch);
    begin(&firn, &bundle);
    let heard = || firn.exec(&["cat", "/tmp/heard"]).stdout.lines().count();
    let hears_more_than = |before: usize| {
        (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            heard() > before + 3
        })
    };
    assert!(hears_more_than(0));
    let place = Place::new(&scratch, &firn);
    let output = place.checkpoint(&[]).fails(1);
    assert!(output.stderr.contains("criu failed: ") && output.stderr.contains("dump.log"), "{output:?}");
    assert_eq!(firn.status(), "running");
    assert!(hears_more_than(heard()));
    let before = heard();
    place.checkpoint(&["--tcp-established"]).succeeds();
    place.restore(&bundle.path, &["--tcp-established"]).succeeds();
    assert!(heard() >= before, "it hears from the start again");
    assert!(hears_more_than(heard()));
}

#[test]
fn systemds_scope_is_made_again() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptscope");
    let bundle = bundle(&scratch, COUNTER)
        .set("/linux/cgroupsPath", json!(format!("firntest-deep.slice:firn:{}", scratch.id())))
        .set("/linux/resources/pids", json!({"limit": 66}))
        .write();
    let firn = Runtime::firn(&scratch);
    let place = Place { more: vec!["--systemd-cgroup"], ..Place::new(&scratch, &firn) };
    place.told(&["--systemd-cgroup", "create", "--bundle", bundle.path.to_str().unwrap(), firn.id()]).succeeds();
    firn.start().succeeds();
    count(&bundle.root());
    place.checkpoint(&[]).succeeds();
    let unit = format!("firn-{}.scope", scratch.id());
    let show = |property: &str| {
        let output = command(Command::new("systemctl").args(["show", "--value", "--property", property, &unit]));
        output.stdout.trim().to_owned()
    };
    assert_eq!(show("ActiveState"), "inactive");
    let before = count(&bundle.root());
    place.restore(&bundle.path, &[]).succeeds();
    counts_on_from(&bundle.root(), before);
    assert_eq!((show("ActiveState"), show("TasksMax")), ("active".into(), "66".into()));
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", firn.state()["pid"])).unwrap();
    assert!(cgroup.trim_end().ends_with(&unit), "{cgroup}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    assert_eq!(show("ActiveState"), "inactive");
}

/// They stay in the joined network namespace, which outlives the container.
#[test]
fn a_joined_network_keeps_its_devices() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptnet");
    let network = Network::new();
    let bundle = bundle(&scratch, COUNTER)
        .without_namespace("network")
        .set("/linux/namespaces/-", json!({"type": "network", "path": format!("/run/netns/{}", network.name)}))
        .set("/linux/netDevices", json!({&network.device: {"name": "eth0"}}))
        .write();
    let firn = Runtime::firn(&scratch);
    begin(&firn, &bundle);
    count(&bundle.root());
    let place = Place::new(&scratch, &firn);
    place.checkpoint(&[]).succeeds();
    let before = count(&bundle.root());
    place.restore(&bundle.path, &[]).succeeds();
    counts_on_from(&bundle.root(), before);
    firn.exec(&["ls", "/sys/class/net/eth0"]).succeeds();
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    ip(&["netns", "exec", &network.name, "ip", "link", "show", "eth0"]).succeeds();
}

fn ip(args: &[&str]) -> Output {
    command(Command::new("ip").args(args))
}

/// A network namespace with a name, and a device on the host whose peer is there too; both go at the end
/// of a test that fails as well.
struct Network {
    name: String,
    device: String,
    peer: String,
}

impl Network {
    fn new() -> Self {
        let process = std::process::id();
        let [device, peer] = ["a", "b"].map(|end| format!("firn{process}{end}"));
        let network = Network { name: format!("firn-test-ckptnet-{process}"), device, peer };
        ip(&["netns", "add", &network.name]).succeeds();
        ip(&["link", "add", &network.device, "type", "veth", "peer", "name", &network.peer]).succeeds();
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.peer]);
        ip(&["netns", "delete", &self.name]);
    }
}

#[test]
fn a_root_of_layers_is_mounted_again() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptlayers");
    let bundle = bundle(&scratch, COUNTER);
    let layer = scratch.directory("layer");
    busybox_root(&layer);
    std::fs::remove_dir_all(bundle.root()).unwrap();
    std::fs::create_dir(bundle.root()).unwrap();
    let upper = scratch.directory("upper");
    let bundle = bundle.write();
    let path = bundle.path.clone();
    let roots = |upper: &str| {
        let text = json!({"root": {"layers": [layer], "upper": upper}}).to_string();
        std::fs::write(path.join("firn.json"), text).unwrap();
    };
    roots("tmpfs");
    let firn = Runtime::firn(&scratch);
    begin(&firn, &bundle);
    let place = Place::new(&scratch, &firn);
    let output = place.checkpoint(&[]).fails(1);
    assert!(output.stderr.contains("\\\"upper\\\" in firn.json must be a directory"), "{output:?}");
    assert!(!place.images.exists());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    roots(upper.to_str().unwrap());
    begin(&firn, &bundle);
    let written = upper.join("upper");
    count(&written);
    place.checkpoint(&[]).succeeds();
    firn.left_nothing();
    let before = count(&written);
    place.restore(&path, &[]).succeeds();
    counts_on_from(&written, before);
    assert!(firn.exec(&["cat", "/proc/mounts"]).succeeds().stdout.starts_with("overlay / overlay "));
}

#[test]
fn what_can_not_be_restored_leaves_nothing() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptfail");
    let bundle = bundle(&scratch, COUNTER).write();
    let firn = Runtime::firn(&scratch);
    begin(&firn, &bundle);
    count(&bundle.root());
    let place = Place::new(&scratch, &firn);
    place.checkpoint(&["--leave-running"]).succeeds();
    let output = place.restore(&bundle.path, &[]).fails(1);
    assert!(output.stderr.contains("already exists"), "{output:?}");
    assert_eq!(firn.status(), "running");
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    firn.wait_for("stopped");
    let output = place.checkpoint(&[]).fails(1);
    assert!(output.stderr.contains("can't be checkpointed: it is stopped"), "{output:?}");
    firn.call(&["delete", firn.id()]).succeeds();
    // A hook that fails, while criu waits.
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]);
    let refused = bundle.set("/hooks", json!({"createRuntime": hook})).write();
    let output = place.restore(&refused.path, &[]).fails(1);
    assert!(output.stderr.contains("createRuntime hook #0") && output.stderr.contains("exit status 3"), "{output:?}");
    firn.left_nothing();
    let bundle = refused.set("/hooks", json!({})).write();
    // Images that are cut off.
    let image = place.images.join("inventory.img");
    let whole = std::fs::read(&image).unwrap();
    std::fs::write(&image, &whole[..4]).unwrap();
    let output = place.restore(&bundle.path, &[]).fails(1);
    assert!(output.stderr.contains("criu failed: ") && output.stderr.contains("restore.log"), "{output:?}");
    firn.left_nothing();
    // Under another name they are as good.
    std::fs::write(&image, whole).unwrap();
    let other = Runtime::firn(&scratch);
    let (name, path) = (format!("{}-other", scratch.id()), bundle.path.to_str().unwrap());
    let args = [&["restore", "--detach", "--bundle", path], &place.directories()[..], &[&name]].concat();
    place.told(&args).succeeds();
    counts_on_from(&bundle.root(), 0);
    other.call(&["delete", "--force", &name]).succeeds();
    firn.left_nothing();
}

/// What podman's own commands say, which must be the same with either runtime;
/// `@` is podman with the runtime, and `$c` a container that counts.
#[track_caller]
fn says_the_same(name: &str, script: &str, expected: &str) {
    command(Command::new("podman").args(["load", "--quiet", "--input", "/srv/busybox.tar"])).succeeds();
    let script = format!(
        "c={name}; @ rm --force --time 0 $c >/dev/null 2>&1 || true
        @ run --detach --name $c --network none --pids-limit 55 --volume /srv:/data:ro localhost/busybox \
            sh -c 'i=0; while :; do i=$((i+1)); echo $i > /next; mv /next /count; sleep 0.1; done' >/dev/null
        for n in $(seq 100); do @ exec $c test -s /count && break; sleep 0.1; done
        {script}"
    );
    let with = |runtime: &str| {
        let podman = format!("podman --runtime {runtime}");
        command(Command::new("bash").args(["-ec", &script.replace('@', &podman)]))
    };
    let ours = with(binary("firn").to_str().unwrap());
    let theirs = with("runc");
    assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout), "{ours:?} {theirs:?}");
    assert_eq!(ours.stdout, expected, "{ours:?}");
}

#[test]
fn podman_saves_and_restores() {
    if lacks_criu() {
        return;
    }
    says_the_same(
        "saved",
        "@ container checkpoint $c >/dev/null; @ inspect --format '{{.State.Status}} {{.State.Checkpointed}}' $c
        @ container restore $c >/dev/null; @ inspect --format '{{.State.Status}}' $c
        test $(@ exec $c cat /count) -gt 1 && echo counts; @ exec $c cat /sys/fs/cgroup/pids.max
        @ rm --force --time 0 $c >/dev/null",
        "exited true\nrunning\ncounts\n55\n",
    );
}

#[test]
fn podman_restores_under_another_name() {
    if lacks_criu() {
        return;
    }
    says_the_same(
        "exported",
        "@ container checkpoint --export /tmp/saved.tar $c >/dev/null; @ rm $c >/dev/null
        @ container restore --import /tmp/saved.tar --name again >/dev/null
        @ inspect --format '{{.State.Status}}' again; test $(@ exec again cat /count) -gt 1 && echo counts
        @ rm --force --time 0 again >/dev/null; rm /tmp/saved.tar",
        "running\ncounts\n",
    );
}

/// A stream of the host's that is no pipe can't be saved, and that is said.
#[test]
fn a_file_of_the_host_is_named() {
    if lacks_criu() {
        return;
    }
    let scratch = Scratch::new("ckptfile");
    let bundle = bundle(&scratch, COUNTER).write();
    let firn = Runtime::firn(&scratch);
    let mut line = firn.command(&["run", "--detach", "--bundle", bundle.path.to_str().unwrap(), firn.id()]);
    let output = File::create(scratch.join("output")).unwrap();
    line.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    assert!(line.status().unwrap().success());
    let output = Place::new(&scratch, &firn).checkpoint(&[]).fails(1);
    assert!(output.stderr.contains("fd=1"), "{output:?}");
    assert_eq!(firn.status(), "running");
}
