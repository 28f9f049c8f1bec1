//! Devices, masks and terminals that the image tries to redirect.

use super::host::{Canary, confined_or_refused, replace_by_link, without_mounts};
use firn_conformance::harness::{Bundle, ConsoleSocket, Output, Runtime, Scratch, command};
use serde_json::json;
use std::os::unix::fs::symlink;
use std::process::Command;

/// CVE-2025-31133: what covers a masked file is the host's null device, and
/// not whatever the image has at /dev/null.
#[test]
fn masks_do_not_follow_a_dev_null_of_the_images() {
    let scratch = Scratch::new("devnull");
    let host = Canary::new(&scratch);
    let script = "echo pwned > /masked; cat /masked; cat /target";
    let bundle = Bundle::new(&scratch)
        .shell(script)
        .set("/root/readonly", json!(false))
        .set("/linux/maskedPaths", json!(["/masked"]));
    let bundle = without_mounts(bundle, "/dev").write();
    let root = bundle.root();
    std::fs::write(root.join("masked"), "mask me\n").unwrap();
    std::fs::write(root.join("target"), "kept\n").unwrap();
    let firn = Runtime::firn(&scratch);
    for target in [host.path.join("secret").to_str().unwrap(), "/target", "/proc/sys/kernel/core_pattern", "../target"]
    {
        replace_by_link(&root.join("dev/null"), target);
        let output = firn.run(&bundle);
        confined_or_refused(&output, target);
        host.check(target);
        assert!(!output.stdout.contains("pwned"), "{output:?}");
        assert_eq!(std::fs::read_to_string(root.join("target")).unwrap(), "kept\n");
        firn.left_nothing();
    }
    // A plain file in its place is refused too; the true device is taken.
    std::fs::remove_file(root.join("dev/null")).unwrap();
    std::fs::write(root.join("dev/null"), "").unwrap();
    assert!(firn.run(&bundle).fails(1).stderr.contains("create device /dev/null"));
    std::fs::remove_file(root.join("dev/null")).unwrap();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "kept\n");
}

#[test]
fn masked_paths_are_covered_and_read_only_paths_can_not_be_written() {
    let scratch = Scratch::new("masks");
    let script = r"
        cat /secret/file /key /link-to-key /link-to-dir/file 2>/dev/null
        for p in /secret/new /fixed/new /fixed/below/new /link-fixed/new; do ( : > $p ) 2>/dev/null && echo wrote $p; done
        ( : > /fixed-file ) 2>/dev/null && echo wrote /fixed-file
        mv /secret /moved 2>/dev/null && echo moved; umount /secret 2>/dev/null && echo unmounted
        mount -o remount,rw /fixed 2>/dev/null && echo remounted
        ls /secret; echo end";
    let bundle = Bundle::new(&scratch)
        .shell(script)
        .set("/root/readonly", json!(false))
        .set(
            "/linux/maskedPaths",
            json!(["/secret", "/key", "/link-to-key", "/link-to-dir", "/none", "/key/below", "/loop"]),
        )
        .set("/linux/readonlyPaths", json!(["/fixed", "/fixed-file", "/link-fixed", "/none", "/fixed-file/below"]))
        .write();
    let root = bundle.root();
    for dir in ["secret", "fixed/below", "other"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in ["secret/file", "key", "key2", "other/file", "fixed-file"] {
        std::fs::write(root.join(file), "SECRET\n").unwrap();
    }
    symlink("key2", root.join("link-to-key")).unwrap();
    symlink("/other", root.join("link-to-dir")).unwrap();
    symlink("../../fixed/below", root.join("link-fixed")).unwrap();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "end\n");
    // A link to itself can't be covered: then the container must not run.
    symlink("loop", root.join("loop")).unwrap();
    assert!(firn.run(&bundle).fails(1).stderr.contains("mask /loop"));
}

/// A terminal that comes over the console socket, if there is one.
fn run_with_terminal(firn: &Runtime, scratch: &Scratch, bundle: &Bundle) -> (Output, String) {
    let _ = std::fs::remove_file(scratch.join("console"));
    let socket = ConsoleSocket::listen(scratch, "console");
    let created = firn.create_with(bundle, &["--console-socket", &socket.path.to_string_lossy()]);
    let mut text = String::new();
    if created.code == 0 {
        let terminal = socket.receive();
        firn.start();
        text = terminal.rest();
    }
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    (created, text)
}

/// CVE-2025-52565: the terminal comes from the container's devpts, and
/// /dev/console is no way out of the image.
#[test]
fn a_terminal_does_not_follow_links_in_dev() {
    let scratch = Scratch::new("ttylink");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch)
        .shell("tty; cat /target; echo pwned > /dev/console; cat /target")
        .set("/root/readonly", json!(false))
        .set("/process/terminal", json!(true));
    let bundle = without_mounts(bundle, "/dev");
    let root = bundle.root();
    let no_devpts = Bundle { path: scratch.directory("no-devpts"), config: bundle.config.clone() };
    let no_devpts = no_devpts.set("/root/path", json!(root)).write();
    let bundle = bundle
        .mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}))
        .write();
    std::fs::write(root.join("target"), "kept\n").unwrap();
    let (secret, dir) = (host.path.join("secret"), host.path.join("dir"));
    for (place, target) in [
        ("dev/console", secret.to_str().unwrap()),
        ("dev/console", "/target"),
        ("dev/console", "/proc/1/fd/0"),
        ("dev/ptmx", "/target"),
        ("dev/pts", dir.to_str().unwrap()),
        ("dev/pts", "/tmp"),
        ("dev/pts/ptmx", secret.to_str().unwrap()),
        ("dev/pts/ptmx", "/dev/ptmx"),
        ("dev/pts/0", "/target"),
    ] {
        for bundle in [&bundle, &no_devpts] {
            let attack = format!("/{place} -> {target}");
            replace_by_link(&root.join(place), target);
            let (created, text) = run_with_terminal(&firn, &scratch, bundle);
            confined_or_refused(&created, &attack);
            host.check(&attack);
            assert!(!text.contains("canary"), "{attack}: {text}");
            assert_eq!(std::fs::read_to_string(root.join("target")).unwrap(), "kept\n", "{attack}");
            if std::ptr::eq(bundle, &no_devpts) {
                assert!(created.stderr.contains("/dev/pts"), "{attack}: {created:?}");
            }
            firn.left_nothing();
            std::fs::remove_dir_all(root.join("dev")).or_else(|_| std::fs::remove_file(root.join("dev"))).unwrap();
            std::fs::create_dir_all(root.join("dev/pts")).unwrap();
        }
    }
    // A multiplexer that is none of a devpts.
    let made = command(Command::new("mknod").arg(root.join("dev/pts/ptmx")).args(["c", "5", "2"]));
    made.succeeds();
    let (created, _) = run_with_terminal(&firn, &scratch, &no_devpts);
    assert!(created.stderr.contains("/dev/pts/ptmx"), "{created:?}");
    let (created, text) = run_with_terminal(&firn, &scratch, &bundle);
    created.succeeds();
    assert!(text.starts_with("/dev/pts/0\r\nkept\r\npwned"), "{text:?}");
}

/// A /dev that is bound from a volume gets no console, and one that it has is covered.
#[test]
fn a_console_is_never_made_in_a_volume() {
    let scratch = Scratch::new("volumecons");
    let volume = scratch.directory("volume");
    for place in ["pts", "shm", "mqueue"] {
        std::fs::create_dir(volume.join(place)).unwrap();
    }
    let bundle = Bundle::new(&scratch).shell("ls /dev/console; [ -c /dev/console ] && echo shown > /dev/console");
    let bundle = without_mounts(bundle, "/dev")
        .set("/process/terminal", json!(true))
        .mount(json!({"destination": "/dev", "type": "bind", "source": volume, "options": ["bind", "rw"]}))
        .mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}))
        .write();
    let listed = || {
        let mut names: Vec<_> = std::fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listed();
    let firn = Runtime::firn(&scratch);
    let (created, text) = run_with_terminal(&firn, &scratch, &bundle);
    assert!(created.code == 0 && text.contains("No such file"), "{created:?} {text}");
    assert_eq!(listed(), before);
    std::fs::write(volume.join("console"), "kept").unwrap();
    let (created, text) = run_with_terminal(&firn, &scratch, &bundle);
    assert!(created.code == 0 && text.contains("shown"), "{created:?} {text}");
    assert_eq!(std::fs::read_to_string(volume.join("console")).unwrap(), "kept");
    firn.left_nothing();
}
