//! firn's own bundles: layers, what is written over them, and closures, made by
//! firn-image and run by firn.

use firn_conformance::harness::bundle::image_bundle as bundle;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Runtime, Scratch, busybox_root, command, skip, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

fn run(firn: &Runtime, bundle: &Path) -> firn_conformance::harness::Output {
    firn.call(&["run", "--bundle", &bundle.to_string_lossy(), firn.id()])
}

/// Two layers: busybox below, and above it a file that covers one of it.
fn layers(scratch: &Scratch) {
    busybox_root(&scratch.directory("base"));
    scratch.write("base/etc/both", "lower\n");
    scratch.write("base/etc/one", "only lower\n");
    scratch.directory("top/etc");
    scratch.write("top/etc/both", "upper\n");
}

#[test]
fn higher_layers_cover_lower_ones_and_none_is_written() {
    let scratch = Scratch::new("layers");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let script =
        "cat /etc/both /etc/one; echo new > /etc/both; rm /etc/one; cat /etc/both; ls /etc/one 2>/dev/null; echo $?";
    let path = bundle(&scratch, &["--layer", "base", "--layer", "top", "--", "sh", "-c", script]);
    for _ in 0..2 {
        assert_eq!(run(&firn, &path).succeeds().stdout, "upper\nonly lower\nnew\n1\n");
    }
    assert_eq!(std::fs::read_to_string(scratch.join("top/etc/both")).unwrap(), "upper\n");
    assert_eq!(std::fs::read_to_string(scratch.join("base/etc/one")).unwrap(), "only lower\n");
    assert!(std::fs::read_dir(path.join("rootfs")).unwrap().next().is_none(), "the mount point stays empty");
    firn.left_nothing();
}

#[test]
fn a_directory_keeps_what_is_written_and_a_tmpfs_has_its_size() {
    let scratch = Scratch::new("upper");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let upper = scratch.directory("kept").to_string_lossy().into_owned();
    let count = "echo x >> /count; wc -l < /count";
    let path = bundle(&scratch, &["--layer", "base", "--upper", &upper, "--", "sh", "-c", count]);
    assert_eq!(run(&firn, &path).succeeds().stdout, "1\n");
    assert_eq!(run(&firn, &path).succeeds().stdout, "2\n");
    assert_eq!(std::fs::read_to_string(scratch.join("kept/upper/count")).unwrap(), "x\nx\n");
    let fill = "dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null; echo $?";
    let path = bundle(&scratch, &["--layer", "base", "--upper", "tmpfs:size=2m", "--", "sh", "-c", fill]);
    assert_eq!(run(&firn, &path).succeeds().stdout, "1\n");
    firn.left_nothing();
}

/// What runs from layers and what runs from a copy of them see the same files,
/// whatever marks of overlayfs the layers have.
#[test]
fn a_copy_shows_what_the_layers_show() {
    let scratch = Scratch::new("copied");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let mark = |name: &str, attribute: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(scratch.join(name), attribute, value, flags).unwrap();
    };
    for name in ["gone", "attribute/gone", "attribute/stays", "opaque/below", "user/below", "old/file", "plain"] {
        scratch.directory(&format!("base/forms/{}", Path::new(name).parent().unwrap().display()));
        scratch.write(&format!("base/forms/{name}"), "base\n");
    }
    std::fs::hard_link(scratch.join("base/forms/old/file"), scratch.join("base/forms/old/second")).unwrap();
    std::fs::File::create(scratch.join("base/forms/sparse")).unwrap().set_len(1 << 26).unwrap();
    for name in ["attribute", "opaque", "user", "new"] {
        scratch.directory(&format!("top/forms/{name}"));
    }
    for node in [&["top/forms/gone", "c", "0", "0"][..], &["top/forms/old", "c", "0", "0"], &["top/forms/pipe", "p"]] {
        command(Command::new("mknod").args(node).current_dir(scratch.path())).succeeds();
    }
    scratch.write("top/forms/attribute/gone", "");
    mark("top/forms/attribute/gone", "trusted.overlay.whiteout", b"");
    mark("top/forms/attribute", "trusted.overlay.opaque", b"x");
    mark("top/forms/opaque", "trusted.overlay.opaque", b"y");
    mark("top/forms/user", "user.overlay.opaque", b"y");
    mark("top/forms/new", "trusted.overlay.redirect", b"/forms/old");
    let script = "find /etc /forms | sort | while read -r f; do \
                  if [ -d $f ]; then stat -c '%n %F %a %u:%g %Y' $f; \
                  else stat -c '%n %F %a %u:%g %s %h %t:%T %Y' $f; [ -f $f ] && md5sum $f; fi; done";
    let made = ["--layer", "base", "--layer", "top", "--", "sh", "-c", script];
    let shown = run(&firn, &bundle(&scratch, &made)).succeeds().stdout;
    let copy = [&["--copy"], &made[..]].concat();
    let copied = run(&firn, &bundle(&scratch, &copy)).succeeds().stdout;
    assert_eq!(copied, shown);
    for (name, there) in [("/forms/plain", true), ("/forms/gone", false), ("/forms/user/below", true)] {
        assert_eq!(shown.contains(&format!("{name} ")), there, "{name}: {shown}");
    }
    assert!(shown.lines().count() > 20, "{shown}");
    firn.left_nothing();
}

#[test]
fn hundreds_of_layers_are_overlaid() {
    let scratch = Scratch::new("many");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let mut args = vec!["--layer".to_owned(), "base".to_owned()];
    for number in 0..300 {
        let name = format!("a-layer-with-a-rather-long-name-{number:03}");
        scratch.directory(&name);
        scratch.write(&format!("{name}/file-{number:03}"), "");
        scratch.write(&format!("{name}/last"), &format!("{number}\n"));
        args.extend(["--layer".to_owned(), name]);
    }
    args.extend(["--", "sh", "-c", "ls /file-* | wc -l; cat /last"].map(String::from));
    let path = bundle(&scratch, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let output = run(&firn, &path);
    if output.stderr.contains("need Linux 6.7") {
        skip("this kernel takes no layers one by one");
        return;
    }
    assert_eq!(output.succeeds().stdout, "300\n299\n");
    firn.left_nothing();
}

#[test]
fn a_bundle_file_that_is_not_the_callers_alone_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("theirs");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let path = bundle(&scratch, &["--layer", "base", "--", "true"]);
    let file = path.join("firn.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o620)).unwrap();
    assert!(run(&firn, &path).fails(1).stderr.contains("writable by nobody else"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
    assert!(run(&firn, &path).fails(1).stderr.contains("must belong to user 0"));
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    std::fs::write(&file, r#"{"root":{"layer":["/"]}}"#).unwrap();
    assert!(run(&firn, &path).fails(1).stderr.contains("unknown field `layer`"));
    std::fs::write(&file, r#"{"root":{"layers":["/no/where"]}}"#).unwrap();
    assert!(run(&firn, &path).fails(1).stderr.contains("layer /no/where"));
    firn.left_nothing();
}

/// The system of the fixture, built by Nix.
pub fn build_closure() -> String {
    let busybox = program("busybox", "busybox-static");
    let fixture = include_str!("../../image/tests/fixtures/closure.nix");
    let mut build = Command::new(program("nix-build", "nix-bin"));
    build.args(["--expr", fixture, "--no-out-link"]).args(["--argstr", "busybox"]).arg(busybox);
    build.args([
        "--option",
        "sandbox",
        "false",
        "--option",
        "substitute",
        "false",
        "--option",
        "build-users-group",
        "",
    ]);
    command(&mut build).succeeds().stdout.trim().to_owned()
}

#[test]
fn a_closure_shows_its_own_store_paths_and_no_others() {
    let scratch = Scratch::new("closure");
    let firn = Runtime::firn(&scratch);
    let system = build_closure();
    let tools = format!("{system}/sw/bin");
    // A path that is in the store and not in the closure.
    let other = scratch.write("other", "secret\n");
    let added = command(Command::new(program("nix-store", "nix-bin")).arg("--add").arg(&other)).succeeds().stdout;
    let other = added.trim();
    assert!(Path::new(other).exists());
    let script = format!(
        "PATH={tools}; ls /nix/store | wc -l; ls /nix/store; cat {other} 2>&1; touch /nix/store/x 2>&1; touch {system}/x 2>&1; \
         mount -t tmpfs x /nix/store 2>&1 | tail -1; umount {system} 2>&1; ls {other} 2>&1; true"
    );
    let path = bundle(&scratch, &["--closure", &system, "--", &format!("{tools}/sh"), "-c", &script]);
    let output = run(&firn, &path).succeeds().stdout;
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("3"), "{output}");
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    assert!(output.contains(&name(&system)), "{output}");
    let listed: Vec<&str> = output.lines().skip(1).take(3).collect();
    assert!(!listed.contains(&name(other).as_str()), "{output}");
    assert_eq!(output.matches("No such file or directory").count(), 2, "{output}");
    assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    assert!(!output.contains("secret"), "{output}");
    firn.left_nothing();
}

/// Even with every capability: there is nothing under the view to uncover.
#[test]
fn root_in_the_container_can_not_reach_past_its_closure() {
    let scratch = Scratch::new("past");
    let firn = Runtime::firn(&scratch);
    let system = build_closure();
    let other = scratch.write("past-closure", "secret\n");
    let added = command(Command::new(program("nix-store", "nix-bin")).arg("--add").arg(&other)).succeeds().stdout;
    let other = added.trim();
    let tools = format!("{system}/sw/bin");
    let script = format!(
        "PATH={tools}; for path in {tools}/../../* /nix/store/*; do umount -l $path; done 2>/dev/null; \
         umount -l /nix/store 2>/dev/null; read line < {other} && echo $line; echo end"
    );
    let path = bundle(&scratch, &["--closure", &system, "--", &format!("{tools}/sh"), "-c", &script]);
    let config = path.join("config.json");
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    for set in ["bounding", "effective", "permitted"] {
        text["process"]["capabilities"][set] =
            json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_CHROOT"]);
    }
    std::fs::write(&config, text.to_string()).unwrap();
    assert_eq!(run(&firn, &path).succeeds().stdout, "end\n");
    firn.left_nothing();
}

/// A store path of every kind, in a store of the test's own; the list of them, and the first.
fn odd_store(scratch: &Scratch) -> (String, String) {
    let path = |letter: char| format!("{}-x", letter.to_string().repeat(32));
    let store = scratch.directory("host/nix/store");
    let tools = store.join(path('a'));
    busybox_root(&tools);
    std::os::unix::fs::symlink(format!("/nix/store/{}", path('a')), store.join(path('b'))).unwrap();
    std::fs::write(store.join(path('c')), "a file\n").unwrap();
    let odd = store.join(path('d'));
    let deep = odd.join("l".repeat(250)).join("m".repeat(250));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), "x".repeat(5000)).unwrap();
    std::fs::write(odd.join("empty"), "").unwrap();
    std::fs::File::create(odd.join("large")).unwrap().set_len((4 << 30) + 1).unwrap();
    for length in [1, 4000, 4095] {
        std::os::unix::fs::symlink("y".repeat(length), odd.join(format!("link-{length}"))).unwrap();
    }
    // More entries than a block has, with names before and after `.` and `..`.
    for name in ["!", "-", ".a", "...", "~"].map(String::from).into_iter().chain((0..500).map(|n| format!("name-{n}")))
    {
        std::fs::write(odd.join(name), "x").unwrap();
    }
    // Entries that fill a block, but for the inode before them.
    let full = odd.join("full");
    std::fs::create_dir(&full).unwrap();
    for number in 0..15 {
        std::fs::write(full.join(format!("{number:0255}")), "").unwrap();
    }
    for (name, owner, mode) in [("!", 65_536, 0o4755), ("-", 7, 0o400)] {
        std::os::unix::fs::chown(odd.join(name), Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(odd.join(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    command(Command::new("find").arg(&store).args(["-exec", "touch", "-h", "-d", "@1", "{}", "+"])).succeeds();
    command(Command::new("touch").args(["-d", "1990-01-01 01:02:03.123456789Z"]).arg(odd.join("~"))).succeeds();
    std::fs::create_dir(store.join(path('e'))).unwrap();
    let list: Vec<String> = ['a', 'b', 'c', 'd'].iter().map(|letter| format!("/nix/store/{}", path(*letter))).collect();
    scratch.write("list", &list.join("\n"));
    (list[0].clone(), path('e'))
}

/// The same by one mount of an image as by a bind mount for each store path.
#[test]
fn a_closure_in_one_mount_shows_what_its_store_paths_hold() {
    let scratch = Scratch::new("oneclosure");
    let (tools, other) = odd_store(&scratch);
    let firn = Runtime::firn(&scratch);
    let script = format!(
        "export PATH={tools}/bin; grep ' /nix/store' /proc/mounts | cut -d ' ' -f 3; echo; cd /nix/store; \
         find ./* | sort | while read -r f; do \
         if [ -d $f ]; then stat -c '%n %F %a %u:%g %h %y' $f; else stat -c '%n %F %a %u:%g %s %h %y' $f; fi; \
         if [ -L $f ]; then readlink $f; elif [ -f $f ]; then head -c 9999 $f | md5sum; fi; done; \
         touch /nix/store/x 2>&1"
    );
    let args = ["--closure", &tools, "--store", "host/nix/store", "--store-paths", "list", "--"];
    let program = format!("{tools}/bin/sh");
    let path = bundle(&scratch, &[&args[..], &[&program, "-c", &script]].concat());
    let shown = || {
        let output = run(&firn, &path).stdout;
        let (mounts, rest) = output.split_once("\n\n").unwrap_or_else(|| panic!("{output}"));
        (mounts.to_owned(), rest.to_owned())
    };
    let (mounts, of_image) = shown();
    // Linux 6.12 mounts an image from its file.
    match kernel() >= (6, 12) {
        true => assert_eq!(mounts, "overlay"),
        false => assert!(mounts.starts_with("tmpfs\n"), "{mounts}"),
    }
    let firn_json = path.join("firn.json");
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&firn_json).unwrap()).unwrap();
    assert!(text["root"].as_object_mut().unwrap().remove("closureImage").is_some());
    std::fs::write(&firn_json, text.to_string()).unwrap();
    let (mounts, of_binds) = shown();
    assert_eq!(mounts, "tmpfs\next4\next4\next4".replace("ext4", mounts.lines().nth(1).unwrap_or_default()));
    assert!(of_binds.lines().count() > 1000, "{of_binds}");
    let pairs = of_image.lines().zip(of_binds.lines());
    assert_eq!(pairs.filter(|(one, other)| one != other).collect::<Vec<_>>(), []);
    assert_eq!(of_image.len(), of_binds.len());
    assert!(!of_image.contains(&other), "what is not in the closure: {of_image}");
    assert!(of_image.ends_with("touch: /nix/store/x: Read-only file system\n"), "{of_image}");
    firn.left_nothing();
}

/// As in `uname -r`: 6.12.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[test]
fn a_closure_starts_its_own_init_by_default() {
    let scratch = Scratch::new("ownit");
    let firn = Runtime::firn(&scratch);
    let path = bundle(&scratch, &["--closure", &build_closure()]);
    let mut detach = firn.command(&["run", "--detach", "--bundle", &path.to_string_lossy(), firn.id()]);
    // The container keeps the streams: a pipe would stay open with it.
    let output = scratch.join("output");
    let stdout = std::fs::File::create(&output).unwrap();
    let streams = detach.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    assert!(streams.status().expect("run firn").success());
    assert_eq!(firn.status(), "running");
    // Process 1 does not get a signal before it handles it (pid_namespaces(7)).
    let is_ready = || std::fs::read_to_string(&output).unwrap().starts_with("hello from the closure");
    wait_until("the init handles signals", is_ready);
    firn.call(&["kill", firn.id(), "SIGRTMIN+3"]).succeeds();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

/// systemd mounts a service's credentials below /run from a mount namespace of its
/// own, and what is mounted later must reach services that are sandboxed already: in
/// a root that is booted, /, /run and /nix/store are shared, with nobody outside.
#[test]
fn a_root_that_is_booted_is_shared_within_the_container() {
    let scratch = Scratch::new("bootshared");
    busybox_root(&scratch.directory("base"));
    std::fs::create_dir(scratch.join("base/mnt")).unwrap();
    let script = "#!/bin/sh
        awk '$5 ~ \"^(/|/run|/nix/store|/nix/store/[^/]*)$\" { print $5, ($7 ~ /shared/ ? \"shared\" : \"private\"), $8 ~ /master/ }' /proc/self/mountinfo
        mkdir -p /run/to; unshare -m --propagation shared sh -c 'mount -t tmpfs none /run/to; touch /run/to/file'; ls /run/to";
    std::fs::write(scratch.join("base/init"), script).unwrap();
    command(Command::new("chmod").arg("755").arg(scratch.join("base/init"))).succeeds();
    let path = bundle(&scratch, &["--layer", "base"]);
    let firn = Runtime::firn(&scratch);
    let output = run(&firn, &path).succeeds().stdout;
    assert_eq!(output, "/ shared 0\n/run shared 0\nfile\n");
    // A closure's view, as firn.json of a booted root has it.
    let store = scratch.directory("store");
    std::fs::create_dir(store.join("aaa-x")).unwrap();
    std::fs::write(path.join("closure"), format!("{}\n", store.join("aaa-x").display())).unwrap();
    let file = path.join("firn.json");
    let mut roots: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    roots["root"]["closure"] = json!("closure");
    roots["root"]["store"] = json!(store);
    std::fs::write(&file, roots.to_string()).unwrap();
    let output = run(&firn, &path).succeeds().stdout;
    let expected = "/ shared 0\n/nix/store shared 0\n/nix/store/aaa-x shared 0\n/run shared 0\nfile\n";
    assert_eq!(output, expected);
    // Under runc too, where the root is a copy.
    let copied = bundle(&scratch, &["--layer", "base", "--copy"]);
    let runc = Runtime::new(program("runc", "runc"), &scratch);
    let output = run(&runc, &copied).succeeds().stdout;
    assert!(output.ends_with("/run shared 0\nfile\n"), "{output}");
    std::fs::remove_dir_all(copied).unwrap();
    // A command's root stays private.
    let path = bundle(&scratch, &["--layer", "base", "--", "sh", "-c", "grep -c shared: /proc/self/mountinfo; true"]);
    assert_eq!(run(&firn, &path).succeeds().stdout, "0\n");
    firn.left_nothing();
}
