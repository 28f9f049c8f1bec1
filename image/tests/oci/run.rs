//! Images that run: under firn with shared layers, and copied under other runtimes.

use crate::common::{IMAGE, Temp, needs, text};
use crate::layout::{Blob, Layout};
use crate::tar::{Header, Tar};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// The runtime beside firn-image; it is another package's program.
fn firn() -> String {
    let path = Path::new(IMAGE).with_file_name("firn");
    assert!(path.exists(), "{} is missing: run `cargo build -p firn`", path.display());
    path.to_str().expect("utf-8").to_owned()
}

/// A static busybox, a user, and a second layer that hides and adds.
fn image(temp: &Temp) {
    needs("busybox", "busybox-static");
    let busybox = std::fs::read("/bin/busybox").expect("read busybox");
    let program = |path| Header { path, mode: 0o755, size: busybox.len() as u64, ..Header::default() };
    let data = Header { kind: b'5', path: b"data", mode: 0o1777, ..Header::default() };
    let low = Tar::default()
        .directory("bin")
        .member(&program(b"bin/busybox"), &busybox)
        .symlink("bin/sh", "busybox")
        .directory("etc")
        .file("etc/passwd", "web:x:33:34::/srv:/bin/sh\n")
        .file("hidden", "")
        .directory("run")
        .file("run/app", "of the image\n")
        .member(&data, b"")
        .file("data/seed", "seed\n");
    let high = Tar::default().file(".wh.hidden", "").file("added", "added\n");
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c"], "User": "web", "WorkingDir": "/made/here", "Volumes": { "/data": {} },
        "Env": ["PATH=/bin", "GREETING=hi"],
        "Cmd": ["/bin/busybox id; /bin/busybox pwd; echo $GREETING $HOME; /bin/busybox cat /added /run/app /data/*; \
                 /bin/busybox ls /; /bin/busybox touch /data/x && exit 133"],
    });
    let layout = Layout::new(temp);
    let manifest = layout.image(&[Blob::gzip(&low.end()), Blob::gzip(&high.end())], &config);
    layout.tag("v", manifest);
}

/// Runs the bundle `web` with a runtime, in a view of one version of cgroups, as crun needs it.
fn run(temp: &Temp, runtime: &str) -> Output {
    let file = temp.path("web/config.json");
    let mut config: Value = temp.json("web/config.json");
    let name = Path::new(runtime).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The tests of a process run at the same time.
    let id = format!("{}-{name}", temp.0.file_name().unwrap_or_default().to_string_lossy());
    // A group of its own below the machine's, under a name that is nobody else's.
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    std::fs::write(&file, config.to_string()).expect("write config");
    let view = "test -d /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", view, "sh", runtime, "--root"]).arg(temp.path("state"));
    command.args(["run", "--bundle"]).arg(temp.path("web")).arg(&id);
    command.output().expect("run the runtime")
}

fn check(output: &Output, runtime: &str) {
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(133), "{runtime}: {shown}{}", text(&output.stderr));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("uid=33(web) gid=34"), "{runtime}: {shown}");
    assert_eq!(lines[1..6], ["/made/here", "hi /srv", "added", "of the image", "seed"], "{runtime}");
    assert!(lines[6..].contains(&"added") && !lines[6..].contains(&"hidden"), "{runtime}: {shown}");
}

#[test]
fn an_image_runs_under_firn() {
    let temp = Temp::new("run-firn");
    image(&temp);
    temp.made(&["oci:img:v", "--layer-store", "store", "-o", "web"]);
    check(&run(&temp, &firn()), "firn");
    // The container has written to its own layer and not to those that are shared.
    temp.made(&["oci:img:v", "--layer-store", "store", "-o", "web", "--force"]);
    let seeds = Command::new("find").arg(temp.path("store")).args(["-name", "x"]).output().expect("run find");
    assert_eq!(text(&seeds.stdout), "");
}

#[test]
fn a_copied_image_runs_under_every_runtime() {
    for program in ["runc", "crun"] {
        needs(program, program);
    }
    let temp = Temp::new("run-copy");
    image(&temp);
    for runtime in [&firn(), "runc", "crun"] {
        temp.made(&["oci:img:v", "--layer-store", "store", "--copy", "-o", "web"]);
        check(&run(&temp, runtime), runtime);
        std::fs::remove_dir_all(temp.path("web")).expect("remove");
    }
}

/// With --init as with podman's: firn-init reaps, and forwards the end.
#[test]
fn an_images_program_runs_under_firn_init_if_asked() {
    let temp = Temp::new("run-init");
    image(&temp);
    let init = crate::common::init();
    let command = ["--", "/bin/busybox cat /proc/1/cmdline"];
    temp.made(&[&["oci:img:v", "--layer-store", "store", "-o", "web", "--init", &init], &command[..]].concat());
    let output = run(&temp, &firn());
    let shown = text(&output.stdout);
    assert!(shown.starts_with("/run/host/init\0--\0/bin/sh\0-c\0"), "{shown}{}", text(&output.stderr));
}

#[test]
fn an_image_with_private_users_runs_as_ids_of_the_range() {
    let temp = Temp::new("run-private");
    image(&temp);
    let bundle = ["oci:img:v", "--layer-store", "store", "-o", "web", "--private-users"];
    temp.made(&[&bundle[..], &["300000"]].concat());
    check(&run(&temp, &firn()), "firn");
    let show = "cd /; /bin/busybox stat -c %u:%g /bin/sh /data; /bin/busybox cat /proc/self/uid_map /proc/self/gid_map";
    temp.made(&[&bundle[..], &["300000:40000", "--force", "--user", "0", "--", show]].concat());
    let output = run(&temp, &firn());
    let shown = text(&output.stdout);
    let words: Vec<_> = shown.split_whitespace().collect();
    let map = ["0", "300000", "40000"];
    assert_eq!(words, [&["0:0", "0:0"], &map[..], &map].concat(), "{}", text(&output.stderr));

    let output = temp.bundle(&[&bundle[..], &["300000:34", "--force"]].concat());
    assert!(!output.status.success() && text(&output.stderr).contains("group 34 is not in the range"));
    let output = temp.bundle(&[&bundle[..], &["300000", "--force", "--copy"]].concat());
    assert!(text(&output.stderr).contains("--copy"), "{}", text(&output.stderr));
}
