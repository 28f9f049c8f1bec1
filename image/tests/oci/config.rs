//! From an image's config to config.json.

use crate::common::Temp;
use crate::layout::{Blob, Layout};
use crate::tar::Tar;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn root() -> Vec<u8> {
    let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n";
    Tar::default().directory("etc").file("etc/passwd", passwd).file("etc/group", "log:x:4:web\n").end()
}

/// The config.json of an image with a `config`, and firn.json.
fn bundle(config: &Value, args: &[&str]) -> (Value, Value) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let temp = Temp::new(&format!("image-config-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let layout = Layout::new(&temp);
    let manifest = layout.image(&[Blob::gzip(&root())], config);
    let reference = layout.tag("v", manifest).reference("v");
    temp.made(&[&[reference.as_str(), "--layer-store", "store", "-o", "web"], args].concat());
    (temp.json("web/config.json"), temp.json("web/firn.json"))
}

fn destinations(config: &Value) -> Vec<&str> {
    let mounts = config["mounts"].as_array().expect("mounts");
    mounts.iter().map(|mount| mount["destination"].as_str().expect("text")).collect()
}

#[test]
fn an_images_config_is_converted() {
    let image = json!({
        "Entrypoint": ["/entry"], "Cmd": ["serve", "80"], "User": "web", "WorkingDir": "/work",
        "Env": ["PATH=/bin", "A=b", "B=1"], "StopSignal": "SIGQUIT", "ExposedPorts": { "80/tcp": {} },
        "Labels": { "note": "x", "run.oci.handler": "krun" }, "Volumes": { "/data": {} }
    });
    let (config, firn) = bundle(&image, &["--env", "B=2"]);
    let process = &config["process"];
    assert_eq!(process["args"], json!(["/entry", "serve", "80"]));
    assert_eq!(process["cwd"], "/work");
    assert_eq!(process["user"], json!({ "uid": 33, "gid": 34, "additionalGids": [4] }));
    assert_eq!(process["noNewPrivileges"], true);
    let env = process["env"].as_array().expect("env");
    for wanted in ["PATH=/bin", "A=b", "B=2", "HOME=/srv"] {
        assert!(env.contains(&json!(wanted)), "{wanted}: {env:?}");
    }
    assert_eq!(env.iter().filter(|text| text.as_str().is_some_and(|text| text.starts_with("B="))).count(), 1);
    assert_eq!(
        config["annotations"],
        json!({
            "note": "x",
            "org.opencontainers.image.architecture": "amd64",
            "org.opencontainers.image.exposedPorts": "80/tcp",
            "org.opencontainers.image.os": "linux",
            "org.opencontainers.image.stopSignal": "SIGQUIT",
        })
    );
    let destinations = destinations(&config);
    assert!(destinations.contains(&"/data") && destinations.contains(&"/proc"), "{destinations:?}");
    for absent in ["/run", "/tmp", "/run/host/container-uuid", "/run/host/init"] {
        assert!(!destinations.contains(&absent), "{absent} would hide the image's");
    }
    assert_eq!(firn["init"], json!({ "notify": false }));
}

#[test]
fn the_command_line_replaces_what_the_image_says() {
    let image = json!({ "Entrypoint": ["/entry"], "Cmd": ["serve"], "User": "web", "WorkingDir": "/work" });
    let args = |args: &[&str]| bundle(&image, args).0["process"]["args"].clone();
    assert_eq!(args(&["--", "check", "-v"]), json!(["/entry", "check", "-v"]));
    assert_eq!(args(&["--entrypoint", "/other"]), json!(["/other"]));
    assert_eq!(args(&["--entrypoint", "", "--", "sh"]), json!(["sh"]));
    let (config, firn) = bundle(&image, &["--user", "7", "--cwd", "/x", "--new-privileges", "--notify"]);
    assert_eq!(config["process"]["user"], json!({ "uid": 7, "gid": 0 }));
    assert_eq!(config["process"]["cwd"], "/x");
    assert_eq!(config["process"]["noNewPrivileges"], false);
    assert_eq!(firn["init"], json!({ "notify": true }));
}

#[test]
fn an_image_of_a_system_is_booted() {
    for init in ["/sbin/init", "/usr/lib/systemd/systemd"] {
        let (config, firn) = bundle(&json!({ "Cmd": [init] }), &[]);
        assert_eq!(config["process"]["args"], json!([init]));
        assert_eq!(config["annotations"]["org.opencontainers.image.stopSignal"], "SIGRTMIN+3");
        for path in ["/run/host/container-uuid", "/run/host/unix-export"] {
            assert!(destinations(&config).contains(&path), "{path}");
        }
        assert_eq!(config["linux"]["rootfsPropagation"], "shared");
        assert_eq!(firn["init"]["restartExitCode"], 133);
    }
}

/// With a directory for the changes, those to a volume are kept there with the others.
#[test]
fn a_volume_is_a_tmpfs_only_where_the_root_is_one() {
    let temp = Temp::new("image-volume");
    std::fs::create_dir(temp.path("up")).expect("make directory");
    let up = temp.path("up");
    let image = json!({ "Cmd": ["x"], "Volumes": { "/data": {} } });
    assert!(!destinations(&bundle(&image, &["--upper", up.to_str().expect("utf-8")]).0).contains(&"/data"));
}

#[test]
fn what_an_image_lacks_is_told_before_it_is_unpacked() {
    let temp = Temp::new("image-lacks");
    let layout = Layout::new(&temp);
    let (none, user) = (layout.image(&[Blob::gzip(&root())], &json!({})), json!({ "Cmd": ["x"], "User": "nobody" }));
    let (user, empty) = (layout.image(&[Blob::gzip(&root())], &user), layout.image(&[], &json!({ "Cmd": ["x"] })));
    let windows = layout.document(
        "application/vnd.oci.image.config.v1+json",
        &json!({ "os": "windows", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [] } }),
    );
    let windows = layout.manifest(&windows, &[]);
    let layout = layout.tag("none", none).tag("user", user).tag("empty", empty).tag("windows", windows);
    assert!(layout.refused("none").contains("neither an entrypoint nor a command: give a COMMAND after --"));
    assert!(layout.refused("empty").contains("no layers"));
    assert!(layout.refused("windows").contains("only those for linux"));
    assert_eq!(std::fs::read_dir(temp.path("store")).expect("list").count(), 0);
    assert!(layout.refused("user").contains("no such user in the root's /etc/passwd"));
}
