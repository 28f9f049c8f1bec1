//! What verbs that read answer to scripts.

use crate::host::Host;
use serde_json::{Value, json};

/// The JSON that a verb prints.
#[track_caller]
fn ask(host: &Host, args: &[&str]) -> Value {
    let output = host.call(&[args, &["--json"]].concat()).succeeds().stdout;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{args:?}: {error}: {output}"))
}

#[test]
fn verbs_that_read_answer_in_json() {
    let host = Host::new("ctl-json");
    let name = host.name("a");
    host.project(json!({"a": {"memory": "64M", "volumes-ro": ["./root:/seen"]}}));
    host.call(&["create", "firn.json"]).succeeds();
    let listed = |host: &Host| ask(host, &["list"])[0].clone();
    let before = listed(&host);
    assert_eq!((&before["name"], &before["state"]), (&json!(name), &json!("down")));
    for unknown in ["pid", "generation", "exit"] {
        assert_eq!(before.get(unknown), Some(&Value::Null), "{unknown}: {before}");
    }
    host.up();
    let up = listed(&host);
    assert_eq!((&up["state"], &up["generation"], &up["exit"]), (&json!("up"), &json!(1), &Value::Null));
    let pid = up["pid"].as_i64().unwrap();
    assert!(ask(&host, &["top", &name]).as_array().unwrap().contains(&json!(pid)));
    assert_eq!(ask(&host, &["status", &name]), up);
    assert_eq!(ask(&host, &["inspect", &name])[0]["definition"]["memory"], "64M");
    assert_eq!(ask(&host, &["limit", &name]), json!({"memory": "64M", "cpus": null, "pids": null}));
    let seen = json!([{"hostPath": host.scratch.join("root"), "mountPoint": "/seen", "isReadOnly": true}]);
    assert_eq!(ask(&host, &["bind", &name]), seen);
    assert_eq!(ask(&host, &["port", &name]), json!([]));
    host.expect_log("a", "up A=\n");
    let log = host.call(&["logs", "--json", &name]).succeeds().stdout;
    let line: Value = serde_json::from_str(log.trim()).unwrap();
    assert_eq!((&line["name"], &line["stream"], &line["text"]), (&json!(name), &json!("stdout"), &json!("up A=")));
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    // Another generation.
    host.init("root", "#!/bin/sh\nexit 3\n");
    host.project(json!({"a": {"memory": "64M", "environment": {"A": "1"}, "restart": "no"}}));
    let plan = host.call(&["plan", "firn.json", "--json"]).fails(10).stdout;
    assert_eq!(serde_json::from_str::<Value>(&plan).unwrap()[0]["action"], "restart");
    host.up();
    let generations = ask(&host, &["generations", &name]);
    assert_eq!((&generations[0]["current"], &generations[1]["current"]), (&json!(false), &json!(true)));
    assert_eq!(generations[1]["changed"], json!(["environment", "restart", "volumes-ro"]));
    firn_conformance::harness::wait_until("it has ended", || listed(&host)["state"] == "down");
    let down = listed(&host);
    assert_eq!((&down["exit"], &down["generation"], &down["pid"]), (&json!(3), &json!(2), &Value::Null));
    let table = host.call(&["list"]).succeeds().stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let of = |title: &str| {
        lines[1]
            .iter()
            .filter(|cell| !cell.is_empty())
            .nth(lines[0].iter().filter(|cell| !cell.is_empty()).position(|cell| *cell == title).unwrap())
            .copied()
    };
    assert_eq!((of("STATE"), of("GENERATION")), (Some("down (status 3)"), Some("2")), "{table}");
    // It has started, however soon it ends.
    (0..10).for_each(|_| drop(host.up()));
    host.leaves_nothing();
}
