//! What a container writes, and what its root is made of.

use crate::host::{Host, INIT};
use serde_json::json;

#[test]
fn what_is_written_is_kept_as_the_definition_says() {
    let host = Host::new("ctl-roots");
    host.project(json!({
        "default": {}, "persistent": {"persistent": true}, "ephemeral": {"ephemeral": true},
    }));
    host.up();
    let all = ["default", "persistent", "ephemeral"];
    for name in all {
        host.exec(name, &["sh", "-c", "echo x >> /written; touch /run/gone"]);
    }
    host.call(&["down", "firn.json"]).succeeds();
    host.up();
    for (name, expected) in all.iter().zip(["x\n", "x\n", ""]) {
        assert_eq!(host.exec(name, &["sh", "-c", "cat /written; ls /run | grep gone; true"]), expected, "{name}");
    }
    assert!(host.state("persistent").join("root").exists() && !host.state("default").join("root").exists());
    assert!(!host.scratch.join("root/written").exists(), "a layer is never written to");
    // A restart builds an ephemeral root anew.
    host.exec("ephemeral", &["sh", "-c", "echo x > /written; kill -USR1 1"]);
    firn_conformance::harness::wait_until("it has restarted", || {
        let output = host.call(&["exec", &host.name("ephemeral"), "cat", "/written"]);
        output.code == 1 && output.stderr.contains("No such file")
    });
    host.leaves_nothing();
}

#[test]
fn higher_layers_cover_lower_ones() {
    let host = Host::new("ctl-layers");
    host.scratch.directory("top/etc");
    host.scratch.directory("root/etc");
    host.scratch.write("root/etc/which", "lower\n");
    host.scratch.write("top/etc/which", "upper\n");
    host.project(json!({"a": {"rootFS": ["./root", "./top"]}}));
    host.up();
    assert_eq!(host.exec("a", &["cat", "/etc/which"]), "upper\n");
    // A link to a layer is followed at each start: what it leads to now is another root.
    host.scratch.directory("third/etc");
    host.scratch.write("third/etc/which", "third\n");
    std::os::unix::fs::symlink("top", host.scratch.join("current")).unwrap();
    host.project(json!({"a": {"rootFS": ["./root", "./current"]}}));
    assert_eq!(host.plan(), "a: unchanged\n");
    std::fs::remove_file(host.scratch.join("current")).unwrap();
    std::os::unix::fs::symlink("third", host.scratch.join("current")).unwrap();
    assert_eq!(host.plan(), "a: restart: rootFS\n");
    host.up();
    assert_eq!(host.exec("a", &["cat", "/etc/which"]), "third\n");
    host.leaves_nothing();
}

/// A system of two store paths, without Nix: its closure is a list.
fn system(host: &Host, version: &str) -> String {
    let hash = |of: &str| {
        let letter = if of == "system" { "s" } else { "d" };
        format!("{}{version}", letter.repeat(31))
    };
    let (system, tools) = (format!("{}-system", hash("system")), "b".repeat(32) + "-tools");
    let store = host.scratch.directory("nix/store");
    if !store.join(&tools).exists() {
        std::fs::create_dir_all(store.join(&tools)).unwrap();
        std::fs::rename(host.scratch.join("root/bin"), store.join(&tools).join("bin")).unwrap();
    }
    std::fs::create_dir_all(store.join(&system)).unwrap();
    let script = INIT.replace("#!/bin/sh", &format!("#!/nix/store/{tools}/bin/sh\nexport PATH=/nix/store/{tools}/bin"));
    host.init(&format!("nix/store/{system}"), &script);
    host.scratch.write("closure", &format!("/nix/store/{system}\n/nix/store/{tools}\n"));
    format!("/nix/store/{system}")
}

#[test]
fn a_native_container_runs_a_system_of_the_store() {
    let host = Host::new("ctl-native");
    let path = system(&host, "1");
    host.project(json!({"a": {"rootFS": [], "path": path, "storePaths": "./closure", "notify": false}}));
    // The store is the host's /nix/store, which need not be there.
    let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("path: "), "{error}");
}
