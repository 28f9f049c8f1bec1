//! Native containers: systems of a Nix store that real Nix has built, changed while they run.

use crate::host::Host;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, command, wait_until};
use serde_json::{Value, json};
use std::process::Command;

/// Guests have the tests' programs, and not their files.
const SYSTEM: &str = include_str!("system.nix");

/// Builds a system; its store path.
pub fn build(version: &str, status: u8) -> String {
    let busybox = program("busybox", "busybox-static");
    let mut nix = Command::new(program("nix-build", "nix-bin"));
    nix.args(["--expr", SYSTEM, "--no-out-link"]).args([
        "--option",
        "sandbox",
        "false",
        "--option",
        "substitute",
        "false",
    ]);
    nix.args(["--option", "build-users-group", "", "--argstr", "version", version]);
    nix.args(["--argstr", "busybox", busybox.to_str().unwrap(), "--argstr", "status", &status.to_string()]);
    command(&mut nix).succeeds().stdout.trim().to_owned()
}

struct System {
    host: Host,
}

impl System {
    /// A container `a` whose `path` is the link ./result.
    fn new(test: &str, system: &str, more: Value) -> Self {
        let system_of = System { host: Host::new(test) };
        system_of.link(system);
        system_of.define(more);
        system_of.host.up();
        system_of
    }

    fn define(&self, more: Value) {
        let mut definition = json!({"rootFS": [], "path": "./result", "notify": false});
        definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.host.project(json!({"a": definition}));
    }

    fn link(&self, system: &str) {
        let link = self.host.scratch.join("result");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(system, &link).unwrap();
    }

    fn pid(&self) -> u64 {
        let text = self.host.call(&["status", "--json", &self.host.name("a")]).succeeds().stdout;
        serde_json::from_str::<Value>(&text).unwrap()["pid"].as_u64().unwrap()
    }

    fn sh(&self, script: &str) -> String {
        self.host.exec("a", &["sh", "-c", script])
    }

    fn up(&self, more: &[&str]) -> Output {
        self.host.call(&[&["up", "--detach", "firn.json"], more].concat())
    }
}

#[test]
fn a_system_changes_while_it_runs() {
    let (one, two) = (build("one", 0), build("two", 0));
    let system = System::new("ctl-update", &one, json!({}));
    let pid = system.pid();
    system.host.expect_log("a", "booted one\n");
    assert_eq!(system.sh(&format!("ls -d {two} 2>&1 | grep -c 'No such file'")), "1\n");
    assert_eq!(system.host.plan(), "a: unchanged\n");
    let mounts = "grep -c ' /nix/store ' /proc/mounts";
    assert_eq!(system.sh(mounts), "1\n");

    system.link(&two);
    assert_eq!(system.host.plan(), format!("a: update: system {two}\n"));
    assert!(system.up(&[]).succeeds().stderr.contains("updated"));
    assert_eq!(system.pid(), pid, "it goes on");
    assert_eq!(system.sh("cat /switched"), "test two\n");
    // Both are seen, by what ran before too: also in a mount namespace of its own, as services have.
    assert_eq!(system.sh(&format!("{one}/bin/hello; {two}/bin/hello")), "hello of one\nhello of two\n");
    system.sh(&format!("echo {two}/bin/hello > /run/execute.new; mv /run/execute.new /run/execute"));
    wait_until("the service has executed it", || {
        system.sh("test -e /run/execute || cat /run/executed") == "hello of two\n"
    });
    assert_eq!(system.sh(&format!("touch {two}/x 2>&1 | grep -c Read-only")), "1\n");
    assert_eq!(system.host.plan(), "a: unchanged\n");

    // However often: one view, not a stack of them.
    for round in 0..20 {
        system.link(if round % 2 == 0 { &one } else { &two });
        system.up(&[]).succeeds();
    }
    assert_eq!(system.sh(mounts), "1\n");
    assert_eq!(system.pid(), pid);
    assert_eq!(system.sh("tail -n 1 /switched"), "test two\n");

    // A restart that it asks for itself boots what it is now; the next start shows that alone.
    system.host.ask_for_restart("a");
    wait_until("it has booted again", || system.host.log("a") == "booted one\nbooted two\n");
    system.host.call(&["restart", &system.host.name("a")]).succeeds();
    assert_eq!(system.sh(&format!("ls -d {one} 2>&1 | grep -c 'No such file'")), "1\n");
    // It goes back in the same way.
    system.host.call(&["rollback", &system.host.name("a")]).succeeds();
    assert_eq!(system.sh("tail -n 1 /switched"), "test one\n");
    system.host.leaves_nothing();
}

#[test]
fn a_system_with_users_of_its_own_changes_too() {
    let (one, two) = (build("one", 0), build("two", 0));
    let system = System::new("ctl-update-users", &one, json!({"privateUsers": "pick", "privateNetwork": true}));
    assert_eq!(system.sh(&format!("{one}/bin/hello; stat -c %u {one}/init")), "hello of one\n0\n");
    system.link(&two);
    system.up(&[]).succeeds();
    let script = format!("{one}/bin/hello; {two}/bin/hello; stat -c %u {two}/init; cat /switched");
    assert_eq!(system.sh(&script), "hello of one\nhello of two\n0\ntest two\n");
    assert_eq!(system.sh("grep -c ' /nix/store ' /proc/mounts"), "1\n");
    system.host.leaves_nothing();
}

#[test]
fn what_else_changed_changes_with_it() {
    let (one, two) = (build("one", 0), build("two", 0));
    let system = System::new("ctl-update-live", &one, json!({}));
    let pid = system.pid();
    system.host.scratch.directory("data");
    system.host.scratch.write("data/file", "of the host\n");
    system.link(&two);
    system.define(json!({"volumes": ["./data:/data"]}));
    system.up(&[]).succeeds();
    assert_eq!(system.sh("cat /data/file /switched"), "of the host\ntest two\n");
    assert_eq!(system.pid(), pid);
    // What needs a restart gets one, and no update besides.
    system.link(&one);
    system.define(json!({"hostname": "x"}));
    assert_eq!(system.host.plan(), "a: restart: hostname\n");
    system.up(&[]).succeeds();
    assert_eq!(system.sh("cat /switched; hostname"), "test two\nx\n");
    system.host.leaves_nothing();
}

#[test]
fn an_update_that_fails_says_so_and_goes_back_where_that_is_asked_for() {
    let (one, bad, two) = (build("one", 0), build("bad", 4), build("two", 0));
    let system = System::new("ctl-update-bad", &one, json!({}));
    let pid = system.pid();
    system.link(&bad);
    let error = system.up(&[]).fails(4).stderr;
    assert!(error.contains("switch-to-configuration has failed") && error.contains("warning: of bad"), "{error}");
    // It runs, as after nixos-rebuild: nothing was undone.
    assert_eq!((system.host.plan(), system.pid()), ("a: unchanged\n".into(), pid));

    system.link(&two);
    system.up(&[]).succeeds();
    system.sh("echo kept > /data");
    system.link(&bad);
    let error = system.up(&["--wait-healthy", "1s"]).fails(1).stderr;
    assert!(error.contains("the update is undone: switch-to-configuration has failed"), "{error}");
    assert_eq!(system.sh("tail -n 2 /switched; cat /data"), "test bad\ntest two\nkept\n");
    assert_eq!(system.host.plan(), format!("a: update: system {bad}\n"), "it is still what is wanted");

    // The definition's own check, which runs inside.
    system.link(&one);
    system.define(json!({"check": ["sh", "-c", "echo not well >&2; test -e /healthy"]}));
    let error = system.up(&[]).fails(1).stderr;
    assert!(error.contains("the update is undone: its check has failed") && error.contains("not well"), "{error}");
    assert_eq!(system.sh("tail -n 2 /switched"), "test one\ntest two\n");
    // What was undone is no generation to go back to.
    let list = system.host.call(&["generations", &system.host.name("a")]).succeeds().stdout;
    assert!(list.lines().last().unwrap().contains(&two) && list.ends_with("(current)\n"), "{list}");
    system.sh("touch /healthy");
    system.up(&[]).succeeds();
    assert_eq!((system.sh("tail -n 1 /switched"), system.pid()), ("test one\n".into(), pid));
    // One that hangs is not waited for.
    system.link(&two);
    system.define(json!({"check": ["sleep", "1000"]}));
    let error = system.up(&["--wait-healthy", "1s"]).fails(1).stderr;
    assert!(error.contains("the update is undone: its check has not ended in time"), "{error}");
    system.host.leaves_nothing();
}

#[test]
fn a_native_container_needs_no_nix_where_it_runs() {
    let (one, two) = (build("one", 0), build("two", 0));
    let host_nix = program("nix-store", "nix-bin");
    let closure =
        |path: &str| command(Command::new(&host_nix).args(["--query", "--requisites", path])).succeeds().stdout;
    let system = System { host: Host::new("ctl-no-nix") };
    let host = &system.host;
    system.link(&one);
    host.scratch.write("closure", &closure(&one));
    system.define(json!({"storePaths": "./closure"}));
    // A host without Nix's programs and its database.
    let up = || {
        let firnctl = host.firnctl(&["up", "--detach", "firn.json"]);
        let mut up = Command::new("unshare");
        up.args(["--mount", "sh", "-c", r#"mount -t tmpfs tmpfs /nix/var; PATH=/nonexistent exec "$@""#, "sh"]);
        up.arg(firnctl.get_program()).args(firnctl.get_args()).current_dir(host.scratch.path());
        command(&mut up).succeeds()
    };
    up();
    host.expect_log("a", "booted one\n");
    system.link(&two);
    host.scratch.write("closure", &closure(&two));
    up();
    assert_eq!(system.sh(&format!("{one}/bin/hello; {two}/bin/hello")), "hello of one\nhello of two\n");
    host.leaves_nothing();
}

#[test]
fn what_is_no_system_of_a_container_is_refused() {
    let host = Host::new("ctl-no-system");
    let store = build("one", 0);
    for (path, reason) in [
        (format!("{store}/bin"), "has no init: it is not the system of a container"),
        ("/nowhere".into(), "path: /nowhere: No such file"),
    ] {
        host.project(json!({"a": {"rootFS": [], "path": path}}));
        let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
        assert!(error.contains(reason), "{error}");
    }
    host.leaves_nothing();
}

/// What is said of the generation that runs.
fn current(system: &System) -> Value {
    let text = system.host.call(&["generations", "--json", &system.host.name("a")]).succeeds().stdout;
    let all: Value = serde_json::from_str(&text).unwrap();
    all.as_array().unwrap().iter().find(|generation| generation["current"] == true).cloned().unwrap_or_default()
}

#[test]
fn an_update_that_was_killed_is_done_by_the_next_call() {
    let (one, two) = (build("one", 0), build("two", 0));
    let system = System::new("ctl-update-killed", &one, json!({}));
    let pid = system.pid();
    let went = std::time::Instant::now();
    system.link(&two);
    system.up(&[]).succeeds();
    let whole = went.elapsed();
    // At moments all over it.
    for round in 0..12_u32 {
        let (version, path) = if round % 2 == 0 { ("one", &one) } else { ("two", &two) };
        system.link(path);
        let mut update = system.host.spawn(&["up", "--detach", "firn.json"]);
        std::thread::sleep(whole * round / 12);
        update.kill().unwrap();
        update.wait().unwrap();
        system.up(&[]).succeeds();
        let seen = system.sh(&format!("tail -n 1 /switched; {path}/bin/hello; grep -c ' /nix/store ' /proc/mounts"));
        assert_eq!(seen, format!("test {version}\nhello of {version}\n1\n"), "round {round}");
        assert_eq!((system.pid(), system.host.plan()), (pid, "a: unchanged\n".into()), "round {round}");
        assert_eq!(current(&system)["system"], json!(path), "round {round}");
    }
    // While the new system is looked at: it is what runs, and not known to be good.
    system.link(&one);
    system.define(json!({"check": ["sh", "-c", "touch /checking; sleep 1000"]}));
    let mut update = system.host.spawn(&["up", "--detach", "firn.json"]);
    wait_until("it is checked", || system.sh("test -e /checking && echo yes || echo no") == "yes\n");
    update.kill().unwrap();
    update.wait().unwrap();
    assert_eq!(system.host.plan(), format!("a: update: system {one}\n"));
    assert_ne!(current(&system)["system"], json!(one));
    // It goes back to what was.
    system.define(json!({"check": ["sh", "-c", "exit 1"]}));
    let error = system.up(&[]).fails(1).stderr;
    assert!(error.contains("the update is undone: its check has failed"), "{error}");
    assert_eq!(system.sh("tail -n 2 /switched"), "test one\ntest two\n");
    assert_eq!(current(&system)["system"], json!(two));
    system.define(json!({"check": ["true"]}));
    system.up(&[]).succeeds();
    assert_eq!((system.host.plan(), current(&system)["system"].clone()), ("a: unchanged\n".into(), json!(one)));
    system.host.leaves_nothing();
}
