//! What a container writes, and what its root is made of.

use crate::host::Host;
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
    host.exec("ephemeral", &["sh", "-c", "echo x > /written"]);
    host.ask_for_restart("ephemeral");
    firn_conformance::harness::wait_until("it has restarted", || {
        let output = host.call(&["exec", &host.name("ephemeral"), "cat", "/written"]);
        output.code == 1 && output.stderr.contains("No such file")
    });
    host.leaves_nothing();
}

#[test]
fn a_root_may_be_an_image() {
    let host = Host::new("ctl-image");
    let mut build = std::process::Command::new(firn_conformance::harness::binary("firn-image"));
    build.current_dir(host.scratch.path()).args(["build", "--layer", "root", "--output", "oci:images:box"]);
    build.args(["--entrypoint", "/init", "--env", "A=of the image"]);
    firn_conformance::harness::command(&mut build).succeeds();
    host.scratch.directory("top/etc");
    host.scratch.write("top/etc/which", "upper\n");
    host.project(json!({"a": {"rootFS": ["oci:./images:box", "./top"]}, "b": {"rootFS": ["oci:./images:none"]}}));
    let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("none"), "{error}");
    host.expect_log("a", "up A=of the image\n");
    assert_eq!(host.exec("a", &["cat", "/etc/which"]), "upper\n");
    host.call(&["stop", &host.name("a")]).succeeds();
    let error =
        host.call(&["config", "check", "-E", "{ containers.x.rootFS = [ ./root \"oci:x:y\" ]; }"]).fails(1).stderr;
    assert!(error.contains("an image is the lowest layer"), "{error}");
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
    // Back to what the link led to then.
    host.call(&["rollback", &host.name("a")]).succeeds();
    assert_eq!(host.exec("a", &["cat", "/etc/which"]), "upper\n");
    host.leaves_nothing();
}
