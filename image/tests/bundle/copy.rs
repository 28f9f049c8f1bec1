//! `firn-image bundle --copy`: bundles for any runtime.

use crate::common::{Temp, closure, has, mode, text};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

#[test]
fn layers_are_merged_as_overlayfs_shows_them() {
    let temp = Temp::new("copy");
    temp.layer("low");
    temp.file("low/etc/low", "low", 0o640);
    temp.file("low/etc/both", "low", 0o644);
    temp.file("low/gone", "", 0o644);
    temp.file("low/opaque/below", "", 0o644);
    temp.file("low/bin/su", "", 0o4755);
    std::fs::hard_link(temp.path("low/bin/su"), temp.path("low/bin/su2")).expect("link");
    symlink("/etc", temp.path("low/link")).expect("link");
    temp.file("high/etc/both", "high", 0o644);
    temp.file("high/opaque/above", "", 0o644);
    temp.file("high/link/file", "", 0o644);
    run(&["mknod", "high/gone", "c", "0", "0"], &temp);
    run(&["chown", "3:4", "low/etc/low"], &temp);
    let opaque = rustix::fs::lsetxattr(
        temp.path("high/opaque"),
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    );
    opaque.expect("set attribute (needs root)");

    temp.made(&["--layer", "low", "--layer", "high", "--copy", "-o", "web"]);
    let root = temp.path("web/rootfs");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect(name);
    assert_eq!(read("etc/both"), "high");
    assert_eq!(read("etc/low"), "low");
    let low = std::fs::symlink_metadata(root.join("etc/low")).expect("stat");
    assert_eq!((low.uid(), low.gid(), low.mode() & 0o7777), (3, 4, 0o640));
    let source = std::fs::symlink_metadata(temp.path("low/etc/low")).expect("stat");
    assert_eq!((low.mtime(), low.mtime_nsec()), (source.mtime(), source.mtime_nsec()));
    assert_eq!(mode(&root.join("bin/su")), 0o4755);
    let inode = |name: &str| std::fs::metadata(root.join(name)).expect("stat").ino();
    assert_eq!(inode("bin/su"), inode("bin/su2"));
    for absent in ["gone", "opaque/below"] {
        assert!(!root.join(absent).exists(), "{absent}");
    }
    assert!(root.join("opaque/above").exists());
    // the link of the lower layer gave way, and nothing went through it
    assert!(root.join("link/file").exists() && !root.join("link").is_symlink());
    assert!(!std::path::Path::new("/etc/file").exists());

    assert_eq!(temp.json("web/firn.json"), json!({ "init": { "restartExitCode": 133, "notify": false } }));
    // setuid programs are for the container only
    assert_eq!(mode(&temp.path("web")), 0o700);
}

fn run(command: &[&str], temp: &Temp) {
    let status = Command::new(command[0]).args(&command[1..]).current_dir(&temp.0).status();
    assert!(status.expect("run").success(), "{command:?}");
}

#[test]
fn a_copied_closure_runs_in_another_runtime() {
    if !has("nix-store", "nix-bin") || !has("runc", "runc") {
        return;
    }
    let temp = Temp::new("copy-closure");
    let system = closure(&[]);
    let script = "touch /nix/store/x 2>/dev/null && exit 1; cat /nix/store/*/share/greeting; \
                  ls /nix/store | grep -c fixture; exit 133";
    temp.made(&["--closure", &system, "--copy", "-o", "web", "--", "sh", "-c", script]);
    let id = format!("firn-image-test-copy-{}", std::process::id());
    let mut config = temp.json("web/config.json");
    // A group of its own below the machine's, under a name that is nobody else's.
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    std::fs::write(temp.path("web/config.json"), config.to_string()).expect("write config");
    let output = Command::new("runc")
        .arg("--root")
        .arg(temp.path("state"))
        .args(["run", "--bundle"])
        .arg(temp.path("web"))
        .arg(&id)
        .output()
        .expect("run runc");
    assert_eq!(output.status.code(), Some(133), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "hello from the closure\n3\n");
}

#[test]
fn folders_without_write_permission_stop_neither_copy_nor_cleaning_up() {
    let temp = Temp::new("copy-user");
    temp.file("low/sealed/file", "", 0o644);
    temp.file("high/sealed/more", "", 0o644);
    temp.file("secret/sealed/hidden", "", 0o600);
    run(&["chmod", "555", "low/sealed", "high/sealed", "low", "high"], &temp);
    run(&["chmod", "777", "."], &temp);
    run(&["chown", "-R", "65534:65534", "low", "high"], &temp);
    // The programs must be where nobody can reach them.
    for program in [crate::common::IMAGE, crate::common::INIT] {
        run(&["cp", program, "."], &temp);
    }
    let as_nobody = |args: &str| {
        let line = format!("./firn-image bundle --copy {args} -o web -- true");
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &line])
            .current_dir(&temp.0)
            .output()
            .expect("run setpriv")
    };
    let before = temp.names();
    let failed = as_nobody("--layer low --layer secret");
    assert!(text(&failed.stderr).contains("Permission denied"), "{}", text(&failed.stderr));
    assert_eq!(temp.names(), before);
    let made = as_nobody("--layer low --layer high");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let sealed = temp.path("web/rootfs/sealed");
    assert_eq!(mode(&sealed), 0o555);
    assert!(sealed.join("file").exists() && sealed.join("more").exists());
}
