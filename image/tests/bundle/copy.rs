//! `firn-image bundle --copy`: bundles for any runtime.

use crate::common::{Temp, closure, mode, needs, text};
use crate::tree::tree;
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
    needs("nix-store", "nix-bin");
    needs("runc", "runc");
    let temp = Temp::new("copy-closure");
    let system = closure(&[]);
    let script = "touch /nix/store/x 2>/dev/null && exit 1; cat /nix/store/*/share/greeting; \
                  ls /nix/store | grep -c fixture; exit 133";
    temp.made(&["--closure", &system, "--copy", "-o", "web", "--", "sh", "-c", script]);
    let output = runc(&temp, "web", "copy");
    assert_eq!(output.status.code(), Some(133), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "hello from the closure\n3\n");
}

/// Runs a bundle with runc.
fn runc(temp: &Temp, bundle: &str, name: &str) -> std::process::Output {
    let id = format!("firn-image-test-{name}-{}", std::process::id());
    let file = temp.path(bundle).join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("parse");
    // A group of its own below the machine's, under a name that is nobody else's.
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    std::fs::write(&file, config.to_string()).expect("write config");
    let mut command = Command::new("runc");
    command.arg("--root").arg(temp.path("state")).args(["run", "--bundle"]).arg(temp.path(bundle)).arg(&id);
    command.output().expect("run runc")
}

/// The container puts a link to /etc into the place of its store. What the next
/// start shows there must be the store all the same, and never the host's /etc.
#[test]
fn a_container_can_not_exchange_what_its_next_start_mounts() {
    needs("nix-store", "nix-bin");
    needs("runc", "runc");
    needs("busybox", "busybox-static");
    let temp = Temp::new("copy-source");
    let system = closure(&[]);
    std::fs::create_dir_all(temp.path("layer/bin")).expect("make layer");
    std::fs::copy("/bin/busybox", temp.path("layer/bin/busybox")).expect("copy busybox");
    let script = "b=/bin/busybox; if $b test -e /first; then $b ls /nix/store; exit; fi; \
                  $b touch /first; $b mv /nix /old && $b mkdir /nix && $b ln -s /etc /nix/store";
    let made =
        ["--layer", "layer", "--closure", &system, "--copy", "-o", "web", "--", "/bin/busybox", "sh", "-c", script];
    temp.made(&made);
    let config = temp.json("web/config.json");
    let sources = config["mounts"].as_array().expect("mounts").iter().filter_map(|mount| mount["source"].as_str());
    let rootfs = temp.path("web/rootfs");
    for source in sources {
        assert!(!std::path::Path::new(source).starts_with(&rootfs), "{source} is the container's to change");
    }
    let first = runc(&temp, "web", "source");
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(rootfs.join("nix/store").is_symlink(), "the attack has not happened");
    let second = runc(&temp, "web", "source");
    let shown = text(&second.stdout);
    assert!(shown.lines().count() == 3 && shown.contains("fixture-system"), "{shown}{}", text(&second.stderr));
}

/// Everything that a name can stand for, compared with what an overlay shows.
#[test]
fn a_copy_says_what_the_overlay_says() {
    let temp = Temp::new("copy-forms");
    let set = |name: &str, attribute: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(temp.path(name), attribute, value, flags).expect("set attribute (needs root)");
    };
    for name in ["dev", "xattr/gone", "xattr/stays", "opaque/below", "user/below", "moved/deep/file"] {
        temp.file(&format!("low/{name}"), "low", 0o644);
    }
    temp.file("low/moved/deep/run", "#!/bin/sh\n", 0o6711);
    run(&["mkfifo", "low/moved/deep/pipe"], &temp);
    run(&["mknod", "low/moved/deep/null", "c", "1", "3"], &temp);
    std::os::unix::net::UnixListener::bind(temp.path("low/moved/deep/socket")).expect("bind");
    symlink("run", temp.path("low/moved/deep/link")).expect("link");
    std::fs::hard_link(temp.path("low/moved/deep/link"), temp.path("low/moved/deep/link2")).expect("link");
    run(&["chown", "-h", "5:6", "low/moved/deep/link"], &temp);
    set("low/moved/deep/link", "trusted.note", b"of a link");
    set("low/moved/deep/pipe", "trusted.note", b"of a pipe");
    set("low/moved/deep/file", "user.note", b"");
    // cap_net_raw=ep, as setcap writes it; an ACL with an entry for user 7.
    set("low/moved/deep/run", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
                \x10\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    set("low/moved/deep", "system.posix_acl_access", acl);
    let sparse = std::fs::File::create(temp.path("low/sparse")).expect("create");
    for at in [0_u64, 3 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", at).expect("write");
    }
    sparse.set_len(64 << 20).expect("truncate");

    std::fs::create_dir(temp.path("high")).expect("make layer");
    run(&["mknod", "high/dev", "c", "0", "0"], &temp);
    temp.file("high/xattr/gone", "", 0o644);
    set("high/xattr/gone", "trusted.overlay.whiteout", b"");
    set("high/xattr", "trusted.overlay.opaque", b"x");
    temp.file("high/opaque/above", "", 0o644);
    set("high/opaque", "trusted.overlay.opaque", b"y");
    temp.file("high/user/above", "", 0o644);
    set("high/user", "user.overlay.opaque", b"y");
    std::fs::create_dir_all(temp.path("high/renamed")).expect("make directory");
    set("high/renamed", "trusted.overlay.redirect", b"/moved");
    run(&["mknod", "high/moved", "c", "0", "0"], &temp);
    // Never out of the layers, wherever it points.
    std::fs::create_dir_all(temp.path("high/outside")).expect("make directory");
    set("high/outside", "trusted.overlay.redirect", b"/../../../../../etc");

    std::fs::create_dir(temp.path("shown")).expect("make directory");
    let whole = "mount -t overlay -o lowerdir=high:low none shown && cp -a --sparse=always shown/. reference";
    std::fs::create_dir(temp.path("reference")).expect("make directory");
    let outside = temp.bundle(&["--layer", "low", "--layer", "high", "--copy", "-o", "bad", "--", "true"]);
    if outside.status.success() {
        assert!(!temp.path("bad/rootfs/outside/passwd").exists(), "a redirect led to the host's /etc");
    }
    std::fs::remove_dir(temp.path("high/outside")).expect("remove");
    run(&["unshare", "--mount", "sh", "-c", whole], &temp);
    temp.made(&["--layer", "low", "--layer", "high", "--copy", "-o", "web", "--", "true"]);
    let listed = |dir: &str| tree(&temp.path(dir));
    let (copied, shown) = (listed("web/rootfs"), listed("reference"));
    for (name, facts) in &shown {
        assert_eq!(copied.get(name), Some(facts), "{}", name.display());
    }
    assert_eq!(copied.keys().collect::<Vec<_>>(), shown.keys().collect::<Vec<_>>());
    for (name, there) in
        [("dev", false), ("xattr/gone", false), ("xattr/stays", true), ("opaque/below", false), ("user/below", true)]
    {
        assert_eq!(copied.contains_key(std::path::Path::new(name)), there, "{name}");
    }
    let blocks = std::fs::metadata(temp.path("web/rootfs/sparse")).expect("stat").blocks();
    assert!(blocks < 1000, "{blocks} blocks for 8 bytes");
    let inode = |name: &str| std::fs::symlink_metadata(temp.path("web/rootfs").join(name)).expect("stat").ino();
    if temp.path("web/rootfs/renamed/deep").exists() {
        assert_eq!(inode("renamed/deep/link"), inode("renamed/deep/link2"));
    }
}

/// Between the system calls of the copy, a directory of the layer is exchanged for
/// one that holds a link under every name, and back: after each call, after each
/// second one, and so on. The copy must never hold what the links lead to.
#[test]
fn a_copy_follows_no_link_that_takes_a_files_place() {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::os::unix::process::CommandExt;
    const SECRET: &str = "the secret of the host";
    let temp = Temp::new("copy-race");
    let secret = temp.file("host/secret", SECRET, 0o600);
    std::fs::create_dir(temp.path("other")).expect("make directory");
    for number in 0..20 {
        temp.file(&format!("layer/dir/{number}/file"), "", 0o644);
        std::fs::create_dir(temp.path(&format!("other/{number}"))).expect("make directory");
        symlink(&secret, temp.path(&format!("other/{number}/file"))).expect("link");
    }
    let (dir, other) = (temp.path("layer/dir"), temp.path("other"));
    for every in 1..=12 {
        let mut command = Command::new(crate::common::IMAGE);
        command.args(["bundle", "--layer", "layer", "--copy", "-o", "web", "--", "true"]).current_dir(&temp.0);
        command.stderr(std::process::Stdio::null());
        // SAFETY: ptrace(2) is a system call, and nothing is allocated.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        let mut child = command.spawn().expect("run firn-image");
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().expect("a pid"));
        let (mut stops, mut exchanges) = (0, 0);
        // It may fail, and say so.
        while !matches!(waitpid(pid, None).expect("wait"), WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
            stops += 1;
            // Twice for each call.
            if stops % (2 * every) == 0 {
                renameat_with(CWD, &dir, CWD, &other, RenameFlags::EXCHANGE).expect("exchange");
                exchanges += 1;
            }
            ptrace::syscall(pid, None).expect("go on");
        }
        // Collected above; this only says so.
        let _ = child.wait();
        assert!(exchanges > 20, "{exchanges} exchanges");
        let rootfs = temp.path("web/rootfs");
        let found = Command::new("grep").args(["-rlF", SECRET]).arg(rootfs).output().expect("run grep");
        assert_eq!(text(&found.stdout), "", "copied when exchanged after every {every} calls");
        let _ = std::fs::remove_dir_all(temp.path("web"));
    }
}

#[test]
fn directories_without_write_permission_stop_neither_copy_nor_cleaning_up() {
    let temp = Temp::new("copy-user");
    temp.file("low/sealed/file", "", 0o644);
    temp.file("high/sealed/more", "", 0o644);
    temp.file("secret/sealed/hidden", "", 0o600);
    run(&["chmod", "555", "low/sealed", "high/sealed", "low", "high"], &temp);
    run(&["chmod", "777", "."], &temp);
    run(&["chown", "-R", "65534:65534", "low", "high"], &temp);
    // The programs must be where nobody can reach them.
    for program in [crate::common::IMAGE, &crate::common::init()] {
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
