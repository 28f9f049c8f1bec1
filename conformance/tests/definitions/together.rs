//! Several containers: their order, all output in the foreground, one failure among them.

use crate::host::Host;
use firn_conformance::harness::{binary, command};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

fn started(host: &Host, name: &str) -> String {
    let text = host.call(&["status", "--json", &host.name(name)]).succeeds().stdout;
    serde_json::from_str::<Value>(&text).unwrap()["since"].as_str().unwrap().to_owned()
}

#[test]
fn each_starts_after_what_it_depends_on() {
    let host = Host::new("ctl-order");
    host.project(json!({
        "web": {"dependsOn": ["app"]}, "app": {"dependsOn": ["db"]}, "db": {}, "alone": {},
    }));
    host.up();
    assert!(started(&host, "db") < started(&host, "app") && started(&host, "app") < started(&host, "web"));
    host.call(&["down", "firn.json"]).succeeds();
    // What one depends on is started with it, and nothing else.
    host.call(&["start", &host.name("app")]).succeeds();
    let states: Vec<String> = ["web", "app", "db", "alone"].iter().map(|name| host.status(name)).collect();
    assert_eq!(states, ["down", "up", "up", "down"]);
    // It is stopped last.
    host.call(&["up", "--detach", "firn.json"]).succeeds();
    host.call(&["down", "firn.json"]).succeeds();
    assert!(started(&host, "web") <= started(&host, "app") && started(&host, "app") <= started(&host, "db"));
    host.leaves_nothing();
}

#[test]
fn a_failure_stops_what_waits_for_it_and_nothing_else() {
    let host = Host::new("ctl-failure");
    firn_conformance::harness::busybox_root(&host.scratch.directory("bad"));
    host.init("bad", "#!/bin/sh\nexit 5\n");
    host.project(json!({
        "bad": {"rootFS": ["./bad"], "notify": true}, "after": {"dependsOn": ["bad"]}, "good": {},
    }));
    let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    let (bad, after) = (host.name("bad"), host.name("after"));
    assert!(error.contains(&format!("container {after}: waits for {bad}, which has failed")), "{error}");
    assert!(error.contains("ended with status 5"), "{error}");
    assert_eq!((host.status("after"), host.status("good")), ("down".into(), "up".into()));
    host.leaves_nothing();
}

#[test]
fn the_foreground_shows_all_output_and_ctrl_c_stops_what_it_started() {
    let host = Host::new("ctl-foreground");
    host.project(json!({"a": {}, "bb": {"environment": {"A": "1"}}, "earlier": {}}));
    host.call(&["up", "--detach", "--only", &host.name("earlier"), "firn.json"]).succeeds();
    let mut up = host.spawn(&["up", "firn.json"]);
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    firn_conformance::harness::wait_until("both are up", || {
        ["a", "bb"].iter().all(|name| host.call(&["status", &host.name(name)]).stdout == "up\n")
    });
    // From the first line on, and then what comes.
    for name in ["a", "bb"] {
        host.exec(name, &["sh", "-c", "echo said > /dev/console"]);
    }
    let mut seen: Vec<String> = (0..4).map(|_| lines.next().unwrap().unwrap().replace("  ", " ")).collect();
    seen.sort();
    let [a, bb] = ["a", "bb"].map(|name| host.name(name));
    let mut expected =
        [format!("{a} | up A="), format!("{a} | said"), format!("{bb} | up A=1"), format!("{bb} | said")];
    expected.sort();
    let normal = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(seen.iter().map(normal).collect::<Vec<_>>(), expected);
    let pid = rustix::process::Pid::from_child(&up);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(up.wait().unwrap().success(), "{rest:?}");
    let states = ["a", "bb", "earlier"].map(|name| host.status(name));
    assert_eq!(states, ["down", "down", "up"]);
    host.leaves_nothing();
}

#[test]
fn ctrl_c_during_a_start_leaves_nothing() {
    let host = Host::new("ctl-interrupt");
    host.init("root", "#!/bin/sh\ntrap 'exit 0' 37\nwhile :; do sleep 60 & wait $!; done\n");
    host.project(json!({"a": {"notify": true}, "b": {"dependsOn": ["a"]}}));
    let up = host.spawn(&["up", "firn.json"]);
    firn_conformance::harness::wait_until("it boots", || host.call(&["status", &host.name("a")]).stdout == "booting\n");
    rustix::process::kill_process(rustix::process::Pid::from_child(&up), rustix::process::Signal::INT).unwrap();
    let output = up.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("interrupted before it was ready, and stopped"), "{error}");
    assert!(host.call(&["list"]).stdout.lines().skip(1).all(|line| line.contains("  down")));
    host.leaves_nothing();
}

#[test]
fn what_is_no_longer_defined_is_told() {
    let host = Host::new("ctl-orphans");
    host.project(json!({"a": {}, "old": {}}));
    host.up();
    host.project(json!({"a": {}}));
    let old = host.name("old");
    for verb in [&["up", "--detach", "firn.json"][..], &["down", "firn.json"]] {
        let said = host.call(verb).succeeds().stderr;
        assert!(said.contains(&format!("{old}  is no longer defined: --remove-orphans destroys it")), "{said}");
    }
    assert_eq!(host.status("old"), "up");
    host.call(&["up", "--detach", "--remove-orphans", "firn.json"]).succeeds();
    assert_eq!(host.call(&["status", &old]).stdout, "gone\n");
    host.leaves_nothing();
}

#[test]
fn instances_are_containers_of_their_own() {
    let host = Host::new("ctl-instances");
    host.project(json!({"w": {"instances": 3, "environment": {"A": "%i"}}, "after": {"dependsOn": ["w"]}}));
    host.up();
    for number in 1..=3 {
        host.expect_log(&format!("w-{number}"), &format!("up A={number}\n"));
        assert!(started(&host, &format!("w-{number}")) < started(&host, "after"));
    }
    host.leaves_nothing();
}

#[test]
fn projects_may_have_containers_of_one_name() {
    let host = Host::new("ctl-projects");
    let name = host.name("same");
    let projects = ["one", "two"].map(|project| host.scratch.directory(project));
    let call = |project: &std::path::PathBuf, args: &[&str]| {
        let mut firnctl = std::process::Command::new(binary("firnctl"));
        firnctl.args(["--hosts-file", "/dev/null", "--authorized-keys", "/dev/null", "--project"]).arg(project);
        // Elsewhere than in the project.
        command(firnctl.current_dir(host.scratch.path()).args(args))
    };
    // Paths count from the project, and not from the file.
    host.scratch.write("firn.json", &json!({"containers": {&name: {"rootFS": ["../root"]}}}).to_string());
    for project in &projects {
        call(project, &["up", "--detach", "firn.json"]).succeeds();
        assert_eq!(call(project, &["status", &name]).succeeds().stdout, "up\n");
    }
    call(&projects[0], &["destroy", "--all"]).succeeds();
    assert_eq!(call(&projects[0], &["status", &name]).fails(1).stdout, "gone\n");
    assert_eq!(call(&projects[1], &["exec", &name, "echo", "is there"]).succeeds().stdout, "is there\n");
    call(&projects[1], &["destroy", "--all"]).succeeds();
    host.leaves_nothing();
}
