//! `firn-image bundle` with layers.

use crate::common::{IMAGE, Temp, init, mode, text};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("an array").iter().map(|v| v.as_str().expect("text")).collect()
}

#[test]
fn a_bundle_of_layers_boots_their_init() {
    let temp = Temp::new("layers");
    temp.layer("low");
    std::fs::create_dir(temp.path("high")).expect("make layer");
    temp.made(&["--layer", "low", "--layer", "high", "--output", "web"]);
    assert_eq!(temp.names(), ["high", "low", "web"]);
    let mut files: Vec<_> = std::fs::read_dir(temp.path("web"))
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    files.sort();
    assert_eq!(files, ["config.json", "firn.json", "host", "rootfs"]);
    assert_eq!(mode(&temp.path("web")), 0o755);
    assert_eq!(mode(&temp.path("web/firn.json")), 0o600);
    assert_eq!(
        temp.json("web/firn.json"),
        json!({
            "root": { "layers": [temp.path("low"), temp.path("high")], "upper": "tmpfs" },
            "init": { "restartExitCode": 133, "notify": false },
        })
    );

    let config = temp.json("web/config.json");
    assert_eq!(config["hostname"], "web");
    assert_eq!(config["process"]["args"], json!(["/init"]));
    assert_eq!(config["process"]["noNewPrivileges"], false);
    assert_eq!(config["process"]["terminal"], false);
    assert_eq!(config["process"].get("rlimits"), None);
    assert_eq!(config["linux"].get("devices"), None);
    assert_eq!(config["annotations"], json!({ "org.opencontainers.image.stopSignal": "SIGRTMIN+3" }));
    let env = strings(&config["process"]["env"]);
    assert!(env.contains(&"container=firn"), "{env:?}");
    let uuid = std::fs::read_to_string(temp.path("web/host/container-uuid")).expect("uuid");
    assert!(env.contains(&&*format!("container_uuid={}", uuid.trim())), "{env:?}");
    let caps = &config["process"]["capabilities"];
    for set in ["bounding", "effective", "permitted"] {
        let names = strings(&caps[set]);
        assert!(names.is_sorted(), "{names:?}");
        for wanted in ["CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_MKNOD", "CAP_NET_ADMIN"] {
            assert!(names.contains(&wanted), "{set} lacks {wanted}");
        }
    }
    assert_eq!(caps["inheritable"], json!([]));
    assert_eq!(caps["ambient"], json!([]));
    let kinds: Vec<_> = config["linux"]["namespaces"]
        .as_array()
        .expect("namespaces")
        .iter()
        .map(|namespace| namespace["type"].as_str().expect("type"))
        .collect();
    assert_eq!(kinds, ["pid", "mount", "ipc", "uts", "cgroup", "network"]);
    assert!(options(&config, "/sys/fs/cgroup").contains(&"rw"));
    assert!(options(&config, "/sys").contains(&"ro"));
    assert_eq!(config["linux"]["rootfsPropagation"], "shared");
    assert!(options(&config, "/run").contains(&"shared"));
}

fn options<'a>(config: &'a Value, destination: &str) -> Vec<&'a str> {
    let mounts = config["mounts"].as_array().expect("mounts");
    let mount = mounts.iter().find(|mount| mount["destination"] == destination);
    strings(&mount.unwrap_or_else(|| panic!("no mount at {destination}"))["options"])
}

#[test]
fn a_command_runs_under_firn_init() {
    let temp = Temp::new("command");
    std::fs::create_dir(temp.path("root")).expect("make layer");
    temp.file("root/etc/passwd", "web:x:33:34::/srv:/bin/sh\n", 0o644);
    temp.made(&[
        "--layer",
        "root",
        "-o",
        "my_app",
        "--user",
        "web",
        "--cwd",
        "/srv",
        "--terminal",
        "-e",
        "TERM=vt100",
        "-e",
        "A=b",
        "--",
        "serve",
        "--port",
        "80",
    ]);
    let config = temp.json("my_app/config.json");
    assert_eq!(config["hostname"], "my-app");
    let process = &config["process"];
    assert_eq!(process["args"], json!(["/run/host/init", "--", "serve", "--port", "80"]));
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(process["terminal"], true);
    assert_eq!(process["cwd"], "/srv");
    assert_eq!(process["user"], json!({ "uid": 33, "gid": 34 }));
    let env = strings(&process["env"]);
    for wanted in ["TERM=vt100", "A=b", "HOME=/srv"] {
        assert!(env.contains(&wanted), "{wanted} in {env:?}");
    }
    assert!(!env.contains(&"TERM=xterm-256color"), "{env:?}");
    assert!(!strings(&process["capabilities"]["bounding"]).contains(&"CAP_SYS_ADMIN"));
    assert!(options(&config, "/sys/fs/cgroup").contains(&"ro"));
    for wanted in ["bind", "ro", "nosuid", "nodev"] {
        assert!(options(&config, "/run/host/init").contains(&wanted), "{wanted}");
    }
    assert_eq!(mode(&temp.path("my_app/firn-init")), 0o755);
    let copied = std::fs::read(temp.path("my_app/firn-init")).expect("read");
    assert!(copied == std::fs::read(init()).expect("read"));
    assert_eq!(temp.json("my_app/firn.json")["init"]["notify"], true);

    temp.made(&["--layer", "root", "-o", "other", "--notify", "--", "serve"]);
    let args = &temp.json("other/config.json")["process"]["args"];
    assert_eq!(*args, json!(["/run/host/init", "--notify=command", "--", "serve"]));
}

/// A layer may call a user or a group of id 0 by a number (CVE-2016-3697).
/// systemd, "The Container Interface".
#[test]
fn a_system_has_a_file_of_each_kind_that_nobody_can_open() {
    let temp = Temp::new("inaccessible");
    temp.layer("low");
    temp.file("low/init", "#!/bin/sh\n", 0o755);
    temp.made(&["--layer", "low", "-o", "system"]);
    let directory = temp.path("system/host/inaccessible");
    let kinds = [("blk", 'b'), ("chr", 'c'), ("dir", 'd'), ("fifo", 'p'), ("reg", '-'), ("sock", 's')];
    let listed = std::process::Command::new("ls").arg("-l").arg(&directory).output().expect("run ls");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let lines = listed.lines().skip(1).map(|line| (&line[line.len() - 4..], &line[..10]));
    for ((name, kind), (end, mode)) in kinds.iter().zip(lines) {
        assert!(end.trim().ends_with(name), "{listed}");
        assert_eq!(mode, format!("{kind}---------"), "{name}");
    }
    assert_eq!(listed.lines().count(), kinds.len() + 1);
    let config = temp.json("system/config.json");
    let mount =
        config["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/run/host/inaccessible");
    assert_eq!(mount.expect("a mount")["source"], json!(directory));
    // It is replaced like any other bundle, and copies have none.
    temp.made(&["--layer", "low", "-o", "system", "--force"]);
    temp.made(&["--layer", "low", "-o", "copy", "--copy"]);
    assert!(!temp.path("copy/host/inaccessible").exists());
    assert!(!temp.json("copy/config.json").to_string().contains("/run/host/inaccessible"));
}

#[test]
fn a_number_is_never_a_name_of_the_image() {
    let temp = Temp::new("numbers");
    temp.file("root/etc/passwd", "1000:x:0:0:root:/root:/bin/sh\n", 0o644);
    temp.file("root/etc/group", "1001:x:0:\nwheel:x:10:1000\n", 0o644);
    for (user, wanted) in [
        ("1000:1001", json!({ "uid": 1000, "gid": 1001 })),
        ("1000", json!({ "uid": 1000, "gid": 0 })),
        ("0000001000:1001", json!({ "uid": 1000, "gid": 1001 })),
    ] {
        temp.made(&["--layer", "root", "-o", user, "--user", user, "--", "true"]);
        assert_eq!(temp.json(&format!("{user}/config.json"))["process"]["user"], wanted, "{user}");
    }
    let message = temp.refused(&["--layer", "root", "-o", "bad", "--user", "4294967296", "--", "true"]);
    assert!(message.contains("no such user"), "{message}");
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let temp = Temp::new("stable");
    temp.layer("root");
    let read = || std::fs::read(temp.path("web/config.json")).expect("read");
    temp.made(&["--layer", "root", "-o", "web"]);
    let first = read();
    for _ in 0..4 {
        temp.made(&["--layer", "root", "-o", "web", "--force"]);
        assert!(read() == first);
    }
}

#[test]
fn an_init_may_be_a_link_within_the_layers() {
    let temp = Temp::new("init-link");
    std::fs::create_dir_all(temp.path("low")).expect("make layer");
    symlink("/lib/systemd/systemd", temp.path("low/init")).expect("link");
    symlink("usr/lib", temp.path("low/lib")).expect("link");
    temp.file("high/usr/lib/systemd/systemd", "", 0o755);
    let message = temp.refused(&["--layer", "low", "-o", "web"]);
    assert_eq!(message, "firn-image: error: find the root's init: /usr is missing: give a command after --");
    temp.made(&["--layer", "low", "--layer", "high", "-o", "web"]);
}

#[test]
fn an_init_on_the_host_is_not_one_of_the_root() {
    let temp = Temp::new("init-escape");
    for target in ["/bin/sh", "../../../../../../../../bin/sh"] {
        let layer = temp.path("layer");
        std::fs::create_dir_all(&layer).expect("make layer");
        symlink(target, layer.join("init")).expect("link");
        let message = temp.refused(&["--layer", "layer", "-o", "web"]);
        assert!(message.contains("/bin is missing"), "{message}");
        std::fs::remove_file(layer.join("init")).expect("remove");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let temp = Temp::new("mistakes");
    temp.layer("root");
    temp.file("file", "", 0o644);
    temp.file("plain/init", "", 0o644);
    std::fs::create_dir(temp.path("up")).expect("make directory");
    for (args, wanted) in [
        (&["-o", "web"][..], "--layer <DIR>"),
        (&["--layer", "absent", "-o", "web"], "layer absent: No such file or directory"),
        (&["--layer", "file", "-o", "web"], "layer file: not a directory: unpack it first"),
        (&["--layer", "root", "--layer", "root", "-o", "web"], "is inside layer"),
        (&["--layer", "plain", "-o", "web"], "find the root's init: /init is not an executable file"),
        (&["--layer", "root", "-o", "no/such/place"], "no/such: No such file or directory"),
        (&["--layer", "root", "-o", "/"], "give the name of a new directory"),
        (&["--layer", "root", "-o", "root/../up/.."], "give the name of a new directory"),
        (&["--layer", "root", "-o", "web", "--upper", "absent"], "make the directory"),
        (&["--layer", "root", "-o", "web", "--upper", "root"], "overlaps layer"),
        (&["--layer", "root", "-o", "web", "--upper", "tmpfs:"], "give options after tmpfs:"),
        (&["--layer", "root", "-o", "web", "--env", "x"], "give NAME=VALUE"),
        (&["--layer", "root", "-o", "web", "--cwd", "x"], "give an absolute path"),
        (&["--layer", "root", "-o", "web", "--hostname", "a_b"], "a host name has at most"),
        (&["--layer", "root", "-o", "web", "--user", "web"], "no such user in the root's"),
        (&["--layer", "root", "-o", "web", "--init", "file", "--", "x"], "not a 64-bit program"),
        (&["--layer", "root", "-o", "web", "--init", "absent", "--", "x"], "pass --init PATH"),
        (&["--layer", "root", "-o", "web", "--store", "/gnu"], "must be at ROOT/nix/store"),
    ] {
        let message = temp.refused(args);
        assert!(message.contains(wanted), "{args:?}: {message}");
    }
}

#[test]
fn a_bundle_is_replaced_only_with_force_and_nothing_else_ever() {
    let temp = Temp::new("force");
    temp.layer("root");
    let make = ["--layer", "root", "-o", "web"];
    let replace = ["--layer", "root", "-o", "web", "--force", "--hostname", "new"];
    temp.made(&make);
    let message = temp.refused(&make);
    assert!(message.contains("exists already: pass --force to replace it"), "{message}");
    assert_eq!(temp.json("web/config.json")["hostname"], "web");
    temp.made(&replace);
    assert_eq!(temp.json("web/config.json")["hostname"], "new");
    assert_eq!(temp.names(), ["root", "web"]);

    // a file that was added would be lost
    temp.file("web/rootfs/data", "", 0o644);
    assert!(temp.refused(&replace).contains("its rootfs is not empty"));
    std::fs::remove_file(temp.path("web/rootfs/data")).expect("remove");
    temp.file("web/notes", "", 0o644);
    assert!(temp.refused(&replace).contains("it also holds \"notes\""));
    assert!(temp.path("web/notes").exists());

    // an empty directory would be replaced by a plain rename
    std::fs::create_dir(temp.path("empty")).expect("make directory");
    std::fs::write(temp.path("single"), "x").expect("write");
    symlink("web", temp.path("link")).expect("link");
    for (place, reason) in [
        ("empty", "no firn.json"),
        ("single", "not a directory"),
        ("link", "not a directory"),
        ("root", "no firn.json"),
    ] {
        let message = temp.refused(&["--layer", "root", "-o", place, "--force"]);
        assert!(message.contains(reason), "{place}: {message}");
        assert!(temp.refused(&["--layer", "root", "-o", place]).contains("exists already"));
    }
}

#[test]
fn a_failure_while_writing_leaves_nothing() {
    let temp = Temp::new("write");
    temp.layer("root");
    let small = temp.path("small");
    std::fs::create_dir(&small).expect("make directory");
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(format!(
            "mount -t tmpfs -o size=64k none {0} && \"$@\"; status=$?; ls -A {0}; exit $status",
            small.display()
        ))
        .args(["sh", IMAGE, "bundle", "--layer"])
        .arg(temp.path("root"))
        .arg("-o")
        .arg(small.join("web"))
        .args(["--", "true"])
        .output()
        .expect("run unshare");
    let message = text(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("No space left on device"), "{message}");
    assert_eq!(text(&output.stdout), "", "something was left");
}
