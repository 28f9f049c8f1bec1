//! What an image says about running it.

use crate::common::Temp;
use crate::fixture::{built, documents, refused};
use serde_json::json;

#[test]
fn options_add_to_a_config() {
    let temp = Temp::new("build-options");
    std::fs::create_dir(temp.path("root")).expect("make directory");
    temp.file("config.json", r#"{"Cmd": ["x"], "Env": ["A=1"], "User": "nobody"}"#, 0o644);
    let common = ["--layer", "root", "--config", "config.json"];
    built(&temp, &[&common[..], &["--output", "oci:image:plain"]].concat());
    let (_, config) = documents(&temp.path("image"), "plain");
    assert_eq!(config["config"], json!({ "Cmd": ["x"], "Env": ["A=1"], "User": "nobody" }));
    assert_eq!((&config["os"], &config["rootfs"]["type"]), (&json!("linux"), &json!("layers")));

    let more = [
        "--entrypoint",
        "/bin/sh",
        "--entrypoint",
        "-c",
        "--cmd",
        "echo hi",
        "--env",
        "A=2",
        "-e",
        "B=x=y",
        "--user",
        "7:8",
        "--workdir",
        "/srv",
        "--stop-signal",
        "SIGRTMIN+3",
        "--label",
        "a=b",
        "--port",
        "80",
        "--port",
        "53/udp",
        "--volume",
        "/data",
        "--output",
        "oci:image:more",
    ];
    built(&temp, &[&common[..], &more].concat());
    let (_, config) = documents(&temp.path("image"), "more");
    assert_eq!(
        config["config"],
        json!({
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo hi"], "Env": ["A=2", "B=x=y"], "User": "7:8",
            "WorkingDir": "/srv", "StopSignal": "SIGRTMIN+3", "Labels": { "a": "b" },
            "ExposedPorts": { "80": {}, "53/udp": {} }, "Volumes": { "/data": {} },
        })
    );
}

#[test]
fn wrong_options_are_refused() {
    let temp = Temp::new("build-wrong");
    std::fs::create_dir(temp.path("root")).expect("make directory");
    temp.file("config.json", r#"{"cmd": ["x"]}"#, 0o644);
    let with = |args: &[&str]| refused(&temp, &[&["--layer", "root", "--output", "oci:image:x"], args].concat());
    assert!(with(&["--config", "config.json"]).contains("unknown key \"cmd\""));
    assert!(with(&["--config", "absent"]).contains("read absent"));
    for (option, value) in [
        ("--port", "0"),
        ("--port", "80/icmp"),
        ("--workdir", "srv"),
        ("--volume", "data"),
        ("--label", "a"),
        ("--env", "=x"),
        ("--stop-signal", "a b"),
        ("--max-layers", "0"),
    ] {
        assert!(with(&[option, value]).contains(option), "{option} {value}");
    }
    assert!(!temp.path("image").exists());
    let to = |target: &str| refused(&temp, &["--layer", "root", "--output", target]);
    let by_digest = format!("docker://example.org/x@sha256:{}", "0".repeat(64));
    assert!(to(&by_digest).contains("by a tag"));
    assert!(to("oci:image").contains("give a tag, as in oci:image:latest"));
    assert!(to("dir:image").contains("no transport to write to"));
    assert!(refused(&temp, &["--output", "oci:image:x"]).contains("--layer"));
}
