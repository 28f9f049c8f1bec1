//! Definitions that change while their containers run.

use crate::host::Host;
use serde_json::{Value, json};

fn pid(host: &Host, name: &str) -> Value {
    let text = host.call(&["status", "--json", &host.name(name)]).succeeds().stdout;
    serde_json::from_str::<Value>(&text).unwrap()["pid"].clone()
}

#[test]
fn what_can_change_live_does_and_the_rest_restarts() {
    let host = Host::new("ctl-live");
    for name in ["one", "two"] {
        host.scratch.directory(name);
        host.scratch.write(&format!("{name}/which"), &format!("{name}\n"));
    }
    host.project(json!({"a": {"volumes": ["./one:/data"], "memory": "64M"}, "b": {}}));
    assert_eq!(host.plan(), "a: start\nb: start\n");
    host.up();
    assert_eq!(host.plan(), "a: unchanged\nb: unchanged\n");
    let before = (pid(&host, "a"), pid(&host, "b"));

    host.project(json!({
        "a": {"volumes": ["./two:/data", "./one:/new"], "memory": "80M", "environment": {"A": "1"}},
        "b": {"memory": "80M"},
    }));
    assert_eq!(
        host.plan(),
        "a: live: unmount /data, mount /two at /data, mount /one at /new, memory 64M → 80M, environment\n\
         b: live: memory none → 80M\n"
    );
    // Looking changes nothing.
    assert_eq!(host.exec("a", &["cat", "/data/which"]), "one\n");
    host.up();
    assert_eq!(host.exec("a", &["sh", "-c", "cat /data/which /new/which; echo $A"]), "two\none\n1\n");
    assert_eq!((pid(&host, "a"), pid(&host, "b")), before, "neither was restarted");
    assert_eq!(host.plan(), "a: unchanged\nb: unchanged\n");

    // What needs a restart restarts, and nothing else; the live changes are there again.
    host.project(json!({
        "a": {"volumes": ["./two:/data", "./one:/new"], "memory": "80M", "environment": {"A": "1"}, "hostname": "x"},
        "b": {"memory": "80M"},
    }));
    assert_eq!(host.plan(), "a: restart: hostname\nb: unchanged\n");
    host.up();
    assert_ne!(pid(&host, "a"), before.0);
    assert_eq!(pid(&host, "b"), before.1);
    assert_eq!(host.exec("a", &["sh", "-c", "hostname; cat /data/which; echo $A"]), "x\ntwo\n1\n");
    host.leaves_nothing();
}

/// The new version is stored and not started; what is compared later is what runs.
#[test]
fn what_is_installed_and_does_not_run_is_pending() {
    let host = Host::new("ctl-pending");
    host.project(json!({"a": {}}));
    host.up();
    host.project(json!({"a": {"hostname": "new"}}));
    host.call(&["create", "firn.json"]).succeeds();
    assert!(host.call(&["list"]).succeeds().stdout.contains("restart: hostname"), "{:?}", host.call(&["list"]));
    host.call(&["create", "firn.json"]).succeeds();
    assert_eq!(host.plan(), "a: restart: hostname\n");
    assert_ne!(host.exec("a", &["hostname"]), "new\n");
    host.call(&["create", "--start", "firn.json"]).succeeds();
    assert_eq!(host.exec("a", &["hostname"]), "new\n");
    // Whatever could be changed live.
    let before = pid(&host, "a");
    host.project(json!({"a": {"hostname": "new", "pids": 50}}));
    host.call(&["create", "--restart", "firn.json"]).succeeds();
    assert_ne!(pid(&host, "a"), before);
    // What can't be started is no reason to stop what runs.
    host.project(json!({"a": {"hostname": "other", "volumes": ["./missing:/x"]}}));
    let before = pid(&host, "a");
    for verb in [&["plan", "firn.json"][..], &["up", "--detach", "firn.json"]] {
        assert!(host.call(verb).fails(1).stderr.contains("missing, which is to be mounted"));
    }
    assert_eq!(pid(&host, "a"), before);
    // One that nobody restarts for a change says so until it is restarted by hand.
    host.project(json!({"a": {"hostname": "newer", "restartIfChanged": false}}));
    let before = pid(&host, "a");
    assert_eq!(host.plan(), "a: pending (restart: hostname)\n");
    host.up();
    assert_eq!(pid(&host, "a"), before);
    host.call(&["restart", &host.name("a")]).succeeds();
    assert_eq!(host.exec("a", &["hostname"]), "newer\n");
    host.leaves_nothing();
}

#[test]
fn a_generation_comes_back() {
    let host = Host::new("ctl-generations");
    let name = host.name("a");
    for number in 1..=12 {
        host.project(json!({"a": {"environment": {"A": number.to_string()}}}));
        host.up();
    }
    host.exec("a", &["touch", "/data"]);
    let list = host.call(&["generations", &name]).succeeds().stdout;
    assert_eq!(list.lines().count(), 1 + 10, "{list}");
    assert!(
        list.lines().last().unwrap().starts_with("12 ")
            && list.contains("  environment  ")
            && list.ends_with("(current)\n"),
        "{list}"
    );
    assert_eq!(host.call(&["rollback", &name]).succeeds().stdout, format!("{name}: generation 11\n"));
    assert_eq!(host.exec("a", &["sh", "-c", "echo $A; ls /data"]), "11\n/data\n");
    host.call(&["rollback", &name, "5"]).succeeds();
    assert_eq!(host.exec("a", &["sh", "-c", "echo $A"]), "5\n");
    let error = host.call(&["rollback", &name, "2"]).fails(1).stderr;
    assert!(error.contains("has no generation 2"), "{error}");
    // One that does not run is changed at its next start.
    host.call(&["stop", &name]).succeeds();
    host.call(&["rollback", &name, "10"]).succeeds();
    host.call(&["start", &name]).succeeds();
    assert_eq!(host.exec("a", &["sh", "-c", "echo $A"]), "10\n");
    host.leaves_nothing();
}

#[test]
fn one_option_changes_by_a_verb() {
    let host = Host::new("ctl-alter");
    for name in ["one", "two"] {
        host.scratch.directory(name);
        host.scratch.write(&format!("{name}/which"), &format!("{name}\n"));
    }
    host.project(json!({"a": {"volumes": ["./one:/data"], "memory": "64M"}, "b": {"privateUsers": "pick"}}));
    host.up();
    let before = pid(&host, "a");
    let name = host.name("a");
    let call = |args: &[&str]| host.call(&[&[args[0], &*name], &args[1..]].concat());
    let told = |args: &[&str]| call(args).succeeds().stdout.replace(&host.scratch.path().display().to_string(), "");
    assert_eq!(told(&["limit"]), "memory=64M\ncpus=none\npids=none\n");
    told(&["limit", "memory=80M", "pids=100"]);
    assert_eq!(told(&["limit"]), "memory=80M\ncpus=none\npids=100\n");
    told(&["bind", "add", "./two:/data", "./one:/new:ro"]);
    assert_eq!(told(&["bind"]), "/two -> /data rw\n/one -> /new ro\n");
    let script = "cat /data/which /new/which; touch /data/x; touch /new/x 2>/dev/null; ls /new";
    assert_eq!(host.exec("a", &["sh", "-c", script]), "two\none\nwhich\n");
    told(&["bind", "rm", "/new"]);
    assert_eq!(host.exec("a", &["sh", "-c", "ls /new | wc -l"]), "0\n");
    assert_eq!(told(&["port"]), "");
    // Mistakes change nothing.
    for (args, error) in [
        (&["limit", "memory=lots"][..], "containers."),
        (&["limit", "swap=1"], "no limit: memory, cpus or pids"),
        (&["bind", "rm", "/nowhere"], "it has none"),
        (&["bind", "add", "/missing-on-this-host:/x"], "/missing-on-this-host"),
        (&["port", "rm", "80"], "it has none"),
        (&["port", "add", "80"], "forwardPorts"),
    ] {
        let output = call(args).fails(1);
        assert!(output.stderr.contains(error), "{output:?}");
    }
    let refused = host.call(&["bind", &host.name("b"), "add", "./one:/data"]).fails(1).stderr;
    assert!(refused.contains("bindMounts can't be changed while it runs"), "{refused}");
    assert_eq!(pid(&host, "a"), before);
    // They stay, also when the file says something new, until that is asked for.
    host.call(&["restart", &name]).succeeds();
    assert_eq!(host.exec("a", &["cat", "/data/which"]), "two\n");
    let of_a = |environment: Value| json!({"volumes": ["./one:/data"], "memory": "64M", "environment": environment});
    host.project(json!({"a": of_a(json!({"A": "1"})), "b": {"privateUsers": "pick"}}));
    let by_hand = "(changed by hand: bindMounts, memory, pids, volumes; `firnctl reset` undoes that)";
    assert_eq!(host.plan(), format!("a: live: environment {by_hand}\nb: unchanged\n"));
    host.up();
    assert_eq!(host.exec("a", &["sh", "-c", "cat /data/which; echo $A"]), "two\n1\n");
    told(&["reset"]);
    assert_eq!(host.plan(), "a: unchanged\nb: unchanged\n");
    assert_eq!(host.exec("a", &["cat", "/data/which"]), "one\n");
    assert_eq!(told(&["limit"]), "memory=64M\ncpus=none\npids=none\n");
    host.leaves_nothing();
}
