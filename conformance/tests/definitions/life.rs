//! Start, stop, and what goes wrong between.

use crate::host::Host;
use firn_conformance::harness::bundle::image_bundle;
use firn_conformance::harness::{binary, command, wait_until};
use serde_json::{Value, json};
use std::process::Stdio;

#[test]
fn a_container_starts_stops_and_goes() {
    let host = Host::new("ctl-life");
    host.project(json!({"db": {}}));
    let (name, call) = (host.name("db"), |args: &[&str]| host.call(args));
    assert_eq!(call(&["status", &name]).fails(1).stdout, "gone\n");
    assert_eq!(call(&["create", "firn.json"]).succeeds().stdout, format!("{name}\n"));
    assert_eq!(host.status("db"), "down");
    call(&["start", &name]).succeeds();
    assert_eq!(host.status("db"), "up");
    // A second start has nothing to do.
    let pid = |host: &Host| host.call(&["status", "--json", &name]).stdout;
    let before: Value = serde_json::from_str(&pid(&host)).unwrap();
    call(&["start", &name]).succeeds();
    let after: Value = serde_json::from_str(&pid(&host)).unwrap();
    assert_eq!(before["pid"], after["pid"]);
    call(&["restart", &name]).succeeds();
    let after: Value = serde_json::from_str(&pid(&host)).unwrap();
    assert_ne!(before["pid"], after["pid"]);
    assert_eq!(call(&["list", "--quiet"]).succeeds().stdout, format!("{name}\n"));
    assert!(call(&["list"]).succeeds().stdout.contains("  up  "), "{:?}", call(&["list"]));
    call(&["stop", &name]).succeeds();
    assert_eq!(host.status("db"), "down");
    call(&["stop", &name]).succeeds();
    // Both runs are in the log.
    assert_eq!(host.log("db"), "up A=\nstopping\nup A=\nstopping\n");
    let error = call(&["exec", &name, "true"]).fails(125).stderr;
    assert!(error.contains(&format!("does not run; `firnctl start {name}` starts it")), "{error}");
    let error = call(&["start", &name.replace("life", "lief")]).fails(1).stderr;
    assert!(error.contains(&format!("did you mean {name}?")), "{error}");
    host.leaves_nothing();
    call(&["destroy", &name]).succeeds();
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let host = Host::new("ctl-fail");
    host.init("root", "#!/bin/sh\necho a reason\nsleep 0.2\nexit 7\n");
    // Ready only when it says so, which it never does.
    host.project(json!({"a": {"notify": true}}));
    let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("ended with status 7") && error.contains("its last lines:\na reason"), "{error}");
    assert_eq!(host.status("a").split(' ').next(), Some("down"));
    assert!(!host.scratch.join("run/containers").join(host.name("a")).join("bundle").exists());
    host.init("root", "#!/bin/sh\necho waiting\nsleep 600\n");
    host.project(json!({"a": {"notify": true, "timeoutStartSec": 5}}));
    let error = host.call(&["up", "--detach", "firn.json"]).fails(3).stderr;
    assert!(error.contains("not ready after 5 s; its last lines:\nwaiting"), "{error}");
    // Before anything is made.
    for (definition, reason) in [
        (json!({"volumes": ["./missing:/x"]}), "missing, which is to be mounted"),
        (json!({"rootFS": ["./nowhere"]}), "rootFS: "),
        (json!({"allowedDevices": [{"node": "/dev/no", "modifier": "rw"}]}), "the host has no /dev/no"),
        (json!({"networkNamespace": "/run/netns/no-such"}), "there is no /run/netns/no-such"),
        (json!({"credentials": {"key": "./no-key"}}), "credentials.key: read "),
        (json!({"linkJournal": true}), "linkJournal: has no effect yet"),
        (json!({"privateNetwork": true, "hostBridge": "no-bridge"}), "the host has no interface no-bridge"),
        (json!({"interfaces": ["no-such0"]}), "interfaces: the host has no interface no-such0"),
    ] {
        host.project(json!({"a": definition}));
        let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
        assert!(error.contains(reason), "{error}");
        assert!(!host.scratch.join("run/containers").join(host.name("a")).join("bundle").exists());
    }
    host.leaves_nothing();
}

#[test]
fn a_container_that_does_not_stop_is_killed_and_said_so() {
    let host = Host::new("ctl-stubborn");
    host.init("root", "#!/bin/sh\ntrap '' 37\nwhile :; do sleep 1; done\n");
    host.project(json!({"a": {"timeoutStopSec": "1s"}}));
    host.up();
    let error = host.call(&["stop", &host.name("a")]).fails(1).stderr;
    assert!(error.contains("did not stop in time and was killed"), "{error}");
    assert_eq!(host.status("a"), "down (killed)");
    host.up();
    // It comes up again all the same.
    let output = host.call(&["restart", &host.name("a")]).succeeds();
    assert!(output.stderr.contains("killed"), "{output:?}");
    assert_eq!(host.status("a"), "up");
    host.project(json!({"a": {"timeoutStopSec": "1s", "hostname": "x"}}));
    assert!(host.up().stderr.contains("did not stop in time and was killed"));
    assert_eq!(host.exec("a", &["hostname"]), "x\n");
    let output = host.call(&["start", &host.name("a")]).succeeds();
    assert_eq!(output.stderr, format!("{}  already up\n", host.name("a")));
    host.call(&["terminate", &host.name("a")]).succeeds();
    assert!(host.call(&["stop", &host.name("a")]).succeeds().stderr.contains("not running"));
    host.up();
    host.call(&["down", "--destroy", "firn.json"]).succeeds();
    assert_eq!(host.call(&["status", &host.name("a")]).stdout, "gone\n");
    let error = host.call(&["down", "--only", "nobody", "firn.json"]).fails(1).stderr;
    assert!(error.contains("the definitions make none of this name"), "{error}");
    host.leaves_nothing();
}

#[test]
fn a_container_restarts_as_it_asks_and_after_a_failure() {
    let host = Host::new("ctl-restart");
    host.project(json!({"a": {}}));
    host.up();
    let restarts = || {
        let text = host.call(&["status", "--json", &host.name("a")]).succeeds().stdout;
        let status: Value = serde_json::from_str(&text).unwrap();
        (status["state"] == "up").then(|| status["restarts"].as_u64().unwrap())
    };
    host.ask_for_restart("a");
    wait_until("it has restarted by 133", || restarts() == Some(1));
    // on-failure is the default, as in NixOS's unit. An init can only be killed from outside.
    let status: Value = serde_json::from_str(&host.call(&["status", "--json", &host.name("a")]).stdout).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_until("it has restarted after a failure", || restarts() == Some(2));
    host.leaves_nothing();
}

#[test]
fn a_container_whose_monitor_was_killed_goes_on() {
    let host = Host::new("ctl-monitor");
    host.project(json!({"a": {}}));
    host.up();
    let status = || -> Value {
        serde_json::from_str(&host.call(&["status", "--json", &host.name("a")]).succeeds().stdout).unwrap()
    };
    let before = status();
    let kill = || {
        let lock = host.scratch.join("run/monitors").join(host.name("a")).join("lock");
        let monitor = std::fs::read_to_string(lock).unwrap().trim().parse().unwrap();
        let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
        rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    };
    // One that dies can still be connected to.
    for _ in 0..10 {
        kill();
        let now = status();
        assert_eq!((&now["state"], &now["pid"]), (&json!("up"), &before["pid"]));
    }
    kill();
    // The next call has another one take it over.
    assert_eq!(host.exec("a", &["sh", "-c", "echo said > /dev/console; echo on"]), "on\n");
    assert_eq!((status()["pid"].clone(), host.status("a")), (before["pid"].clone(), "up".into()));
    host.call(&["stop", &host.name("a")]).succeeds();
    assert_eq!(host.log("a"), "up A=\nsaid\nstopping\n");
    host.leaves_nothing();
}

/// By the kernel, or before Linux 6.15 by the keeper.
#[test]
fn how_a_container_ends_without_a_monitor_is_known() {
    let host = Host::new("ctl-unseen");
    host.scratch.directory("data");
    host.init("root", "#!/bin/sh\nuntil [ -e /data/go ]; do sleep 0.05; done\nexit 7\n");
    host.project(json!({"a": {"restart": "no", "volumes": ["./data:/data"]}}));
    host.up();
    let status = || -> Value {
        serde_json::from_str(&host.call(&["status", "--json", &host.name("a")]).succeeds().stdout).unwrap()
    };
    let init = rustix::process::Pid::from_raw(status()["pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
    let lock = host.scratch.join("run/monitors").join(host.name("a")).join("lock");
    let monitor = std::fs::read_to_string(lock).unwrap().trim().parse().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    wait_until("the monitor is gone", || rustix::process::test_kill_process(monitor).is_err());
    host.scratch.write("data/go", "");
    wait_until("init is gone", || rustix::process::test_kill_process(init).is_err());
    wait_until("it is down", || status()["state"] == "down");
    assert_eq!(status()["exit"], 7);
    host.leaves_nothing();
}

#[test]
fn firnctl_may_be_killed_at_any_moment() {
    let host = Host::new("ctl-killed");
    let volumes = json!(["./data:/data"]);
    host.scratch.directory("data");
    host.scratch.write("data/precious", "kept");
    // Each run is killed a little later than the one before, so that every step is hit.
    for round in 0..24_u64 {
        let limit = json!({"a": {"volumes": volumes, "pids": 100 + round}, "b": {"dependsOn": ["a"]}});
        host.project(limit);
        let mut firnctl = host.spawn(&["up", "--detach", "firn.json"]);
        std::thread::sleep(std::time::Duration::from_millis(round * 8));
        firnctl.kill().unwrap();
        firnctl.wait().unwrap();
        match round % 3 {
            // The next call goes on from there.
            0 => {
                host.up();
                assert_eq!((host.status("a"), host.status("b")), ("up".into(), "up".into()));
            }
            1 => drop(host.call(&["down", "firn.json"]).succeeds()),
            _ => host.leaves_nothing(),
        }
    }
    host.leaves_nothing();
    assert_eq!(std::fs::read_to_string(host.scratch.join("data/precious")).unwrap(), "kept");
}

#[test]
fn what_is_not_firnctls_stays() {
    let host = Host::new("ctl-others");
    host.project(json!({"a": {}}));
    let name = host.name("a");
    // A container of the runtime with this name, and one that a monitor runs.
    let bundle = image_bundle(&host.scratch, &["--layer", "root", "--", "sleep", "1000"]);
    let run = |program: &str, args: &[&str]| command(std::process::Command::new(binary(program)).args(args));
    let root = host.scratch.directory("run/runtime").to_string_lossy().into_owned();
    let bundle = bundle.to_string_lossy().into_owned();
    // What it is given as output stays open as long as it runs.
    let mut theirs = std::process::Command::new(binary("firn"));
    theirs.args(["--root", &root, "run", "--detach", "--bundle", &bundle, &name]);
    assert!(theirs.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("already exists"), "{error}");
    for verb in [&["down", "firn.json"][..], &["destroy", &name]] {
        host.call(verb).succeeds();
    }
    let listed = run("firn", &["--root", &root, "list"]).succeeds().stdout;
    assert!(listed.contains(&name) && listed.contains("running"), "{listed}");
    run("firn", &["--root", &root, "delete", "--force", &name]).succeeds();

    // Another project's, whose names are the same.
    host.project(json!({"a": {"persistent": true}}));
    host.up();
    host.exec("a", &["touch", "/precious"]);
    std::fs::create_dir(host.scratch.join("other")).unwrap();
    std::fs::copy(host.scratch.join("firn.json"), host.scratch.join("other/firn.json")).unwrap();
    for verb in [&["up", "--detach"][..], &["down"], &["down", "--destroy"], &["shell"]] {
        let error = host.call(&[verb, &["other/firn.json"]].concat()).fails(1).stderr;
        assert!(error.contains("belongs to "), "{verb:?}: {error}");
    }
    // Nor does a shell throw away what keeps something.
    let error = host.call(&["shell", "firn.json", "--run", "true"]).fails(1).stderr;
    assert!(error.contains("is there already, and keeps what it writes"), "{error}");
    assert_eq!(host.exec("a", &["ls", "/precious"]), "/precious\n");
    host.leaves_nothing();
}

#[test]
fn a_record_that_can_not_be_read_is_told_and_removed() {
    let host = Host::new("ctl-broken");
    host.project(json!({"a": {}, "b": {}}));
    host.up();
    std::fs::write(host.state("a").join("wanted.json"), "no JSON").unwrap();
    let output = host.call(&["list"]).fails(1);
    let rows: Vec<&str> = output.stdout.lines().collect();
    assert!(rows[1].contains("  broken  ") && rows[2].contains("  up  "), "{output:?}");
    assert!(output.stderr.contains("wanted.json"), "{output:?}");
    host.call(&["restart", &host.name("b")]).succeeds();
    host.call(&["destroy", &host.name("a")]).succeeds();
    host.call(&["list"]).succeeds();
    host.leaves_nothing();
}

/// Nobody on the host but root comes to the files that a container writes.
#[test]
fn the_root_is_for_root_alone() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new("ctl-modes");
    host.project(json!({"a": {}, "b": {"persistent": true}}));
    host.up();
    let run_dir = host.scratch.join("run/containers").join(host.name("a"));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&run_dir.join("root")), mode(&run_dir.join("lock"))), (0o700, 0o600));
    assert_eq!(mode(&host.state("b")), 0o700);
    assert_eq!(host.exec("a", &["stat", "-c", "%a", "/"]), "755\n");
    host.leaves_nothing();
}

#[test]
fn destroy_removes_no_files_of_other_places() {
    let host = Host::new("ctl-destroy");
    host.project(json!({"a": {"persistent": true}}));
    host.up();
    host.exec("a", &["sh", "-c", "mkdir -p /var/empty; touch /var/empty/x"]);
    host.call(&["down", "firn.json"]).succeeds();
    // Somebody has mounted their data in the container's root.
    let data = host.scratch.directory("data");
    host.scratch.write("data/precious", "kept");
    let place = host.state("a").join("root/upper/mnt point");
    std::fs::create_dir_all(&place).unwrap();
    rustix::mount::mount_bind(&data, &place).unwrap();
    let empty = host.state("a").join("root/upper/var/empty");
    // Not every file system has such flags.
    let directory = std::fs::File::open(&empty).unwrap();
    let immutable = rustix::fs::ioctl_setflags(&directory, rustix::fs::IFlags::IMMUTABLE);
    drop(directory);
    host.leaves_nothing();
    assert!(!empty.exists(), "immutable: {immutable:?}");
    assert_eq!(std::fs::read_to_string(data.join("precious")).unwrap(), "kept");
}
