//! Where the time of a start went.

use crate::host::Host;
use crate::machine::Machine;
use firn_conformance::harness::{binary, wait_until};
use serde_json::{Value, json};

/// Ready 400 ms after it has begun, for the first time.
const INIT: &str = "\
#!/bin/sh
trap 'exit 0' 37
trap 'exit 133' USR1
[ -e /first ] || { touch /first; sleep 0.4; }
/bin/firn-inside notify READY=1
while :; do sleep 60 & wait $!; done
";

fn analyze(host: &Host) -> Value {
    let text = host.call(&["analyze", "--json", &host.name("a")]).succeeds().stdout;
    serde_json::from_str(&text).unwrap()
}

fn names(analysis: &Value) -> Vec<&str> {
    analysis["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect()
}

const FIRNCTL: [&str; 5] = ["clean up", "bundle", "network prepared", "generation", "monitor"];

#[test]
fn the_time_of_a_start_is_told() {
    let machine = Machine::new("ctl-analyze");
    let host = &machine.host;
    host.init("root", INIT);
    std::fs::copy(binary("firn-inside"), host.scratch.join("root/bin/firn-inside")).unwrap();
    let definition = json!({"privateNetwork": true, "localAddress": "10.9.0.2", "notify": true, "persistent": true});
    host.project(json!({"a": definition}));
    host.call(&["create", "firn.json"]).succeeds();
    let error = host.call(&["analyze", &host.name("a")]).fails(1).stderr;
    assert!(error.contains("has not been started"), "{error}");
    host.up();
    let analysis = analyze(host);
    assert_eq!(names(&analysis), [&FIRNCTL[..], &["create", "network", "start", "init"]].concat());
    let seconds = |of: &Value| of.as_f64().unwrap();
    let steps = analysis["steps"].as_array().unwrap();
    let [create, network, start, init] = &steps[5..] else { panic!("{analysis}") };
    assert!(seconds(&create["began"]) < seconds(&network["began"]), "{analysis}");
    assert!(seconds(&network["ended"]) < seconds(&create["ended"]), "{analysis}");
    assert_eq!((&start["began"], &init["began"]), (&create["ended"], &start["ended"]));
    assert_eq!(init["ended"], analysis["seconds"]);
    let parts = &analysis["parts"];
    assert!(seconds(&parts["init"]) >= 0.4 && seconds(&parts["network"]) > 0.0, "{analysis}");
    let sum: f64 = parts.as_object().unwrap().values().map(seconds).sum();
    assert!((sum - seconds(&analysis["seconds"])).abs() < 1e-3, "{analysis}");
    let text = host.call(&["analyze", &host.name("a")]).succeeds().stdout;
    assert!(text.starts_with(&format!("{}: ready after ", host.name("a"))) && text.lines().count() == 10, "{text}");
    let svg = host.call(&["analyze", "--svg", &host.name("a")]).succeeds().stdout;
    assert_eq!((svg.matches("<rect").count(), svg.ends_with("</svg>\n")), (1 + 9, true), "{svg}");
    // What the monitor does by itself is its own, and the runtime's.
    host.ask_for_restart("a");
    wait_until("it has restarted", || {
        host.call(&["status", "--json", &host.name("a")]).stdout.contains("\"restarts\": 1")
    });
    wait_until("it is ready again", || host.status("a") == "up");
    assert_eq!(names(&analyze(host)), ["create", "network", "start", "init"]);
    // A start that has failed is told as far as it came.
    host.call(&["stop", &host.name("a")]).succeeds();
    host.init("root", "#!/bin/sh\nexit 7\n");
    host.project(json!({"a": {"rootFS": ["./root"], "notify": true}}));
    host.call(&["up", "--detach", "firn.json"]).fails(1);
    let analysis = analyze(host);
    assert_eq!((&analysis["ready"], names(&analysis).last()), (&json!(false), Some(&"init")));
    machine.leaves_nothing();
}
