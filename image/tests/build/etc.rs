//! Images with users, groups and files of /etc from a description.

use crate::common::{Temp, text};
use crate::fixture::{FakeStore, built, documents, refused, unpacked};
use crate::tree::{ALL, describe};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const DESCRIPTION: &str = r#"{
    "users": {"web": {"uid": 8080, "home": "/srv/web", "createHome": true, "shell": "/bin/sh"}},
    "groups": {"log": {"gid": 4, "members": ["web"]}},
    "etc": {
        "motd": {"text": "hello\n"},
        "secret": {"text": "x", "mode": "0400", "uid": 8080},
        "app/config": {"source": "/srv/config"}
    },
    "directories": {"/tmp": {"mode": "1777"}}
}"#;

#[test]
fn users_and_etc_are_the_uppermost_layer() {
    let temp = Temp::new("build-etc");
    let mut store = FakeStore::new(&temp);
    let program = store.add("a", "program", "program", &[]);
    temp.file("base/etc/motd", "of a lower layer\n", 0o600);
    temp.file("description.json", DESCRIPTION, 0o644);
    let [at, list] = &store.options();
    let words = [at, list, "--closure", &program, "--layer", "base", "--etc", "description.json", "--user", "web"];
    let first = built(&temp, &[&words[..], &["--output", "oci:image:latest"]].concat());
    assert_eq!(built(&temp, &[&words[..], &["--output", "oci:again:latest"]].concat()), first);
    let (_, config) = documents(&temp.path("image"), "latest");
    assert_eq!(config["history"][2]["comment"], json!("users, groups and /etc"));

    let root = unpacked(&temp, "image:latest", "bundle");
    let tree = describe(&root, ALL);
    for (path, wanted) in [
        ("etc", "40755 owner=0:0"),
        ("etc/motd", "100644 owner=0:0"),
        ("etc/secret", "100400 owner=8080:0"),
        ("etc/shadow", "100600 owner=0:0"),
        ("srv/web", "40700 owner=8080:8080"),
        ("tmp", "41777 owner=0:0"),
    ] {
        let line = &tree[Path::new(path)];
        assert!(line.starts_with(wanted), "{path}: {line}");
    }
    assert_eq!(std::fs::read_link(root.join("etc/app/config")).expect("a link"), Path::new("/srv/config"));
    assert_eq!(std::fs::read_to_string(root.join("etc/motd")).expect("read"), "hello\n");

    // shadow's own programs find no fault, but for the homes and shells that a system would have.
    let faults = |program: &str| {
        let mut command = Command::new(format!("/usr/sbin/{program}"));
        let output = command.args(["--read-only", "--root"]).arg(&root).output().expect("run it");
        let text = text(&output.stdout);
        text.lines().filter(|line| !line.contains("does not exist") && !line.contains("no changes")).count()
    };
    assert_eq!((faults("pwck"), faults("grpck")), (0, 0));
}

#[test]
fn a_mistake_in_a_description_names_the_place() {
    let temp = Temp::new("build-etc-bad");
    temp.layer("base");
    temp.file("bad.json", r#"{"users": {"web": {"uid": 1, "group": "www"}}}"#, 0o644);
    let message = refused(&temp, &["--layer", "base", "--etc", "bad.json", "--output", "oci:image:x"]);
    assert!(message.contains("--etc bad.json: user \"web\": there is no group \"www\": add it"), "{message}");
    assert!(!temp.path("image").exists());
}
