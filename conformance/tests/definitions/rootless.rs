//! Containers of an ordinary user, without root.

use crate::native;
use crate::user::{SUBIDS, USER, User};
use firn_conformance::harness::place::program;
use firn_conformance::harness::{binary, command, wait_until};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

#[test]
fn a_container_lives_and_changes_without_root() {
    let user = User::new("rootless-life");
    user.succeeds("mkdir data");
    let b = json!({"rootFS": ["./root"], "persistent": true, "volumes": ["./data:/data"], "dependsOn": ["a"]});
    let project = |a: &str, hostname: &str| {
        let mut b = b.clone();
        b["hostname"] = hostname.into();
        user.project(&json!({"a": {"rootFS": ["./root"], "environment": {"A": a}}, "b": b}));
    };
    project("1", "one");
    let plan = user.call(&["plan", "firn.json"]);
    assert_eq!((plan.code, plan.stdout.as_str()), (10, "a: start\nb: start\n"), "{plan:?}");
    user.call(&["up", "-d", "firn.json"]).succeeds();
    assert_eq!((user.status("a"), user.status("b")), ("up".into(), "up".into()));
    assert_eq!(user.call(&["list", "-q"]).succeeds().stdout, "a\nb\n");
    // Nothing of it is among the machine's containers.
    let machine = command(Command::new(binary("firnctl")).args(["list", "-q"])).succeeds().stdout;
    assert!(!machine.lines().any(|name| name == "a" || name == "b"), "{machine}");
    assert!(user.scratch.join("home/.local/state/firnctl/containers/b/wanted.json").exists());
    let map = user.call(&["exec", "a", "cat", "/proc/self/uid_map"]).succeeds().stdout;
    let map: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(map, ["0", &USER.to_string(), "1", "1", &SUBIDS.to_string(), "65536"]);
    wait_until("init has said it", || user.call(&["logs", "a"]).succeeds().stdout == "up A=1\n");
    // Files of other ids inside are those of the user's subordinate ids.
    let write = "touch /data/f; mkdir -p /d/e; touch /d/e/f; chown -R 33:33 /d /data/f; chmod 700 /d";
    user.call(&["exec", "b", "sh", "-c", write]).succeeds();
    assert_eq!(user.owner("home/data/f"), SUBIDS + 32);
    assert_eq!(user.call(&["exec", "--user", "33:33", "b", "id", "-u"]).succeeds().stdout, "33\n");
    assert_eq!(user.call(&["exec", "a", "sh", "-c", "exit 7"]).code, 7);

    project("2", "two");
    assert_eq!(user.call(&["plan", "firn.json"]).stdout, "a: live: environment\nb: restart: hostname\n");
    user.call(&["up", "-d", "firn.json"]).succeeds();
    assert_eq!(user.call(&["run", "b", "hostname"]).succeeds().stdout, "two\n");
    assert_eq!(user.call(&["exec", "a", "sh", "-c", "echo $A"]).succeeds().stdout, "2\n");
    user.call(&["rollback", "b"]).succeeds();
    assert_eq!(user.call(&["run", "b", "hostname"]).succeeds().stdout, "one\n");
    assert_eq!(user.call(&["exec", "b", "stat", "-c", "%u", "/d/e/f"]).succeeds().stdout, "33\n");
    // An ordinary user may not mount from outside.
    let error = user.call(&["bind", "a", "add", "./data:/mnt"]).fails(1).stderr;
    assert!(error.contains("bindMounts can't be changed while it runs"), "{error}");

    // Without a cgroup they are known by their pid namespace.
    let top = user.call(&["top", "b", "-eo", "pid,args"]).succeeds().stdout;
    assert!(top.contains("/init") && top.contains("sleep 60") && top.lines().count() == 3, "{top}");
    user.call(&["exec", "a", "sh", "-c", "kill -USR1 1"]);
    wait_until("it is up again", || user.call(&["logs", "a"]).stdout.matches("up A=2").count() == 1);
    user.call(&["kill", "a"]).succeeds();
    wait_until("it is down", || user.status("a").starts_with("down"));
    user.call(&["restart", "a"]).succeeds();
    user.call(&["update", "a"]).succeeds();
    // Another monitor takes over where one was killed.
    let pids = command(Command::new("pgrep").args(["-u", &USER.to_string(), "-f", "firn-shim run .*--id a "])).stdout;
    let is_own = |pid: &&str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(&user.scratch.id())
    };
    let own: Vec<&str> = pids.split_whitespace().filter(is_own).collect();
    assert!(!own.is_empty());
    command(Command::new("kill").arg("-9").args(&own)).succeeds();
    wait_until("it is gone", || own.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
    assert_eq!(user.status("a"), "up");
    user.call(&["stop", "a"]).succeeds();
    user.call(&["down", "firn.json"]).succeeds();
    assert!(user.scratch.join("home/.local/state/firnctl/containers/b/root").exists(), "what it has written stays");
    user.leaves_nothing();
    assert_eq!(user.owner("home/data/f"), SUBIDS + 32, "what is bound stays too");
}

#[test]
fn an_image_runs_as_a_root_and_is_thrown_away_by_shell() {
    let user = User::new("rootless-image");
    user.succeeds("firn-image build --layer root --cmd /init --output oci:images:web");
    user.project(&json!({"a": {"rootFS": ["oci:./images:web"]}}));
    user.call(&["up", "-d", "firn.json"]).succeeds();
    assert_eq!(user.call(&["exec", "a", "id", "-u"]).succeeds().stdout, "0\n");
    assert_eq!(user.call(&["down", "--destroy", "firn.json"]).code, 0);
    let said = user.call(&["shell", "firn.json", "--run", "c", "hostname"]).succeeds().stdout;
    assert_eq!(said, "a\n");
    assert_eq!(user.call(&["shell", "firn.json", "--run", "c", "sh", "-c", "exit 9"]).code, 9);
    // A project's containers are apart, and so are its layers.
    user.call(&["--project", ".", "up", "-d", "firn.json"]).succeeds();
    assert_eq!(user.call(&["list", "-q"]).succeeds().stdout, "");
    assert_eq!(user.call(&["--project", ".", "list", "-q"]).succeeds().stdout, "a\n");
    user.call(&["--project", ".", "destroy", "a"]).succeeds();
    user.succeeds("firn-image unshare rm -rf .firn");
    user.leaves_nothing();
}

/// With the Nix daemon, as ordinary users have Nix.
#[test]
fn a_system_of_the_store_boots_and_changes_by_a_restart() {
    let (one, two) = (native::build("one", 0), native::build("two", 0));
    let mut user = User::new("rootless-native");
    let socket = user.scratch.join("nix-daemon.socket");
    let mut daemon = Command::new(program("nix-daemon", "nix-bin"));
    daemon.args(["--daemon", "--option", "build-users-group", ""]).env("NIX_DAEMON_SOCKET_PATH", &socket);
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the daemon listens", || socket.exists());
    user.env = vec![format!("NIX_DAEMON_SOCKET_PATH={}", socket.display())];
    for (system, version) in [(&one, "one"), (&two, "two")] {
        user.project(&json!({"a": {"path": system, "notify": false}}));
        if version == "two" {
            let plan = user.call(&["plan", "firn.json"]).stdout;
            assert_eq!(plan, "a: restart: path\n");
        }
        user.call(&["up", "-d", "firn.json"]).succeeds();
        let booted = format!("booted {version}\n");
        wait_until("it is booted", || user.call(&["logs", "a"]).succeeds().stdout.ends_with(&booted));
        let store = user.call(&["exec", "a", "ls", "/nix/store"]).succeeds().stdout;
        assert_eq!(store.lines().filter(|path| path.contains("firn-test-system")).count(), 1, "{store}");
        // The user's generations keep their systems.
        let roots = command(Command::new("nix-store").args(["-q", "--roots", system])).succeeds().stdout;
        assert!(roots.contains(&*user.scratch.id()), "{roots}");
    }
    user.call(&["rollback", "a"]).succeeds();
    wait_until("it is booted", || user.call(&["logs", "a"]).succeeds().stdout.ends_with("booted one\n"));
    user.leaves_nothing();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// As on a host where nobody has given the user any.
#[test]
fn without_subordinate_ids_there_is_one() {
    let mut user = User::new("rootless-one");
    user.has_subids = false;
    user.project(&json!({"a": {"rootFS": ["./root"], "persistent": true}}));
    user.call(&["up", "-d", "firn.json"]).succeeds();
    let map = user.call(&["exec", "a", "sh", "-c", "touch /x; cat /proc/self/uid_map"]).succeeds().stdout;
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", &USER.to_string(), "1"]);
    let denied = user.call(&["exec", "a", "chown", "33", "/x"]);
    assert!(denied.code == 1 && denied.stderr.contains("Invalid argument"), "{denied:?}");
    // A directory that its owner may not enter, as overlayfs makes one too.
    user.call(&["exec", "a", "sh", "-c", "mkdir -p /d/e; chmod 0 /d"]).succeeds();
    user.leaves_nothing();
}

#[test]
fn what_takes_root_is_told_before_anything_starts() {
    let user = User::new("rootless-mistakes");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJabcdefghijklmnopqrstuvwxyz";
    user.project(&json!({
        "a": {
            "rootFS": ["./root"], "privateNetwork": true, "hostAddress": "10.1.1.1", "localAddress": "10.1.1.2",
            "hostAddress6": "fc00::1", "localAddress6": "fc00::2", "hostBridge": "br0",
            "localMacAddress": "02:00:00:00:00:01", "extraVeths": {"x": {}}, "interfaces": ["y"], "macvlans": ["z"],
            "forwardPorts": [{"hostPort": 9000, "protocol": "sctp"}],
            "extra": {"enableWAN": true, "exposeLocalhost": true, "firewallAllowHost": true},
            "privateUsers": "pick", "sshKeys": {"root": [key]}, "autoStart": true,
        },
        "b": {"rootFS": ["./root"], "networkNamespace": "/run/netns/x"},
        "c": {"rootFS": ["./root"], "extra": {"addressPrefix": "10.1.3"}},
    }));
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    for option in [
        "a.hostAddress",
        "a.localAddress",
        "a.hostAddress6",
        "a.localAddress6",
        "a.hostBridge",
        "a.localMacAddress",
        "a.extraVeths",
        "a.interfaces",
        "a.macvlans",
        "a.forwardPorts[0].protocol",
        "a.extra.enableWAN",
        "a.extra.exposeLocalhost",
        "a.extra.firewallAllowHost",
        "a.privateUsers",
        "a.sshKeys",
        "a.autoStart",
        "b.networkNamespace",
        "c.extra.addressPrefix",
    ] {
        let is_told = |line: &str| line.contains(&format!("containers.{option}: needs root"));
        assert_eq!(told.lines().filter(|line| is_told(line)).count(), 1, "{option}: {told}");
    }
    assert!(told.ends_with("firnctl: 18 mistakes\n"), "{told}");
    // The same file is root's to use, but for an address that is missing there.
    let as_root = command(user.script("FIRNCTL_ROOTLESS=0 firnctl config check firn.json").arg("sh"));
    assert!(!as_root.stderr.contains("needs root"), "{as_root:?}");

    let limits = json!({"a": {"rootFS": ["./root"], "memory": "64M", "pids": 20}});
    user.project(&limits);
    let told = user.call(&["up", "-d", "firn.json"]).fails(1).stderr;
    let expected = "firnctl: container a: memory, pids: an ordinary user's container has no cgroup of its own";
    assert!(told.starts_with(expected), "{told}");
    assert_eq!(user.status_json(), Value::Null);

    let told = user.succeeds("! FIRNCTL_ROOTLESS=2 firnctl list 2>&1; ! env -u XDG_RUNTIME_DIR firnctl list 2>&1");
    assert!(told.contains("FIRNCTL_ROOTLESS=2: give 1 or 0") && told.contains("XDG_RUNTIME_DIR is not set"), "{told}");
    let told = user.succeeds("chmod 755 $XDG_RUNTIME_DIR; ! firnctl list 2>&1; chmod 700 $XDG_RUNTIME_DIR");
    assert!(told.contains("must be yours, and of mode 0700"), "{told}");
    let root = command(Command::new(binary("firnctl")).args(["--rootless", "list"])).fails(1);
    assert_eq!(root.stderr, "firnctl: --rootless: is for ordinary users; root's containers need no option\n");
    // A root shell that has inherited the variable.
    command(Command::new(binary("firnctl")).env("FIRNCTL_ROOTLESS", "1").arg("list")).succeeds();
    user.leaves_nothing();
}

impl User {
    /// What `status` knows of `a`: nothing where it has never run.
    fn status_json(&self) -> Value {
        let text = self.call(&["status", "--json", "a"]).succeeds().stdout;
        serde_json::from_str::<Value>(&text).unwrap()["pid"].clone()
    }
}
