//! Sources of binds, targets and /dev that the image leads to the kernel's file
//! systems or to a volume of the host's.

use super::host::{Canary, confined_or_refused, replace_by_link, snapshot, without_mounts};
use super::races::{Swapping, race};
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What must not be there, wherever it is mounted.
const LOOK: &str = "[ -L /x ] && echo ran && exit; for d in /x /x/proc /x/data; do
    [ -e $d/self/status ] && echo bare procfs at $d
    [ -e $d/kernel/mm ] && echo bare sysfs at $d
    [ -n \"$(find $d -maxdepth 2 -name cgroup.procs 2>/dev/null)\" ] && echo bare cgroups at $d
    done; cat /x/secret 2>/dev/null; echo ran";

fn bind(source: impl AsRef<Path>, options: Value) -> Value {
    json!({"destination": "/x", "type": "bind", "source": source.as_ref(), "options": options})
}

#[track_caller]
fn shows_nothing(output: &Output, attack: &str) {
    confined_or_refused(output, attack);
    assert!(!output.stdout.contains("bare"), "{attack}: {output:?}");
}

/// The command in a mount namespace in which PLACE is bound to NAME as well.
fn with_alias(place: &Path, name: &Path, command: &Command) -> Command {
    let mut shell = Command::new("unshare");
    shell.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        "mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"",
        "sh",
    ]);
    shell.arg(place).arg(name).arg(command.get_program()).args(command.get_args());
    shell
}

/// A source that lies in the root is looked up in the root, by whatever name the
/// host has for it, and never shows what the kernel does: such a /proc would have
/// no masks and could be written.
#[test]
fn a_source_in_the_root_never_shows_the_kernels_files() {
    let scratch = Scratch::new("rootsource");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false)).shell(LOOK);
    let (root, path) = (bundle.root(), bundle.path.clone());
    let link = scratch.join("by-link");
    symlink(&path, &link).unwrap();
    let mounted = scratch.directory("by-mount");
    let host_dir = host.path.to_str().unwrap();
    for target in ["/proc", "proc", "../../proc", "/sys", "/sys/fs/cgroup", "/", "/alias", host_dir] {
        replace_by_link(&root.join("data"), target);
        replace_by_link(&root.join("alias"), "/proc");
        for (top, options) in [
            (&path, json!(["bind"])),
            (&path, json!(["rbind"])),
            (&path, json!(["rbind", "src-nofollow"])),
            (&link, json!(["rbind"])),
            (&mounted, json!(["bind"])),
        ] {
            let source = top.join("rootfs/data");
            let _ = std::fs::remove_dir(root.join("x")).or_else(|_| std::fs::remove_file(root.join("x")));
            let attack = format!("{} -> {target} {options}", source.display());
            let bundle = Bundle { path: path.clone(), config: bundle.config.clone() };
            bundle.mount(bind(&source, options.clone())).write();
            let run = firn.command(&["run", "--bundle", &path.to_string_lossy(), firn.id()]);
            let output = command(&mut with_alias(&path, &mounted, &run));
            shows_nothing(&output, &attack);
            host.check(&attack);
            // The link itself leads to what the container sees anyway; beside cgroup v2
            // there is a tmpfs with the hierarchies in it.
            let is_link = options == json!(["rbind", "src-nofollow"]);
            let is_alone = options == json!(["bind"]) && ["/", "/sys/fs/cgroup"].contains(&target);
            if !is_link && !is_alone && target != host_dir {
                let refusal = "must not show a second time";
                assert!(output.code == 1 && output.stderr.contains(refusal), "{attack}: {output:?}");
            }
        }
    }
    firn.left_nothing();
    // What lies in the root itself may be bound, by each of the names.
    std::fs::remove_file(root.join("data")).unwrap();
    std::fs::create_dir(root.join("data")).unwrap();
    std::fs::write(root.join("data/file"), "own\n").unwrap();
    symlink("data", root.join("to-data")).unwrap();
    for (top, name) in [(&path, "data"), (&link, "data"), (&mounted, "data"), (&link, "to-data"), (&mounted, "to-data")]
    {
        let source = top.join("rootfs").join(name);
        let config = Bundle { path: path.clone(), config: bundle.config.clone() };
        config.mount(bind(&source, json!(["rbind"]))).shell("cat /x/file").write();
        let run = firn.command(&["run", "--bundle", &path.to_string_lossy(), firn.id()]);
        let output = command(&mut with_alias(&path, &mounted, &run)).succeeds();
        assert_eq!(output.stdout, "own\n", "{}", source.display());
    }
}

/// The same while the image changes: a directory of the root is now a link to
/// /proc, now the mounted /proc itself that was moved.
#[test]
fn a_source_in_the_root_that_changes_never_shows_the_kernels_files() {
    let scratch = Scratch::new("racesource");
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false)).shell(LOOK);
    let root = bundle.root();
    for dir in ["data/deep", "other"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    symlink("/proc", root.join("link")).unwrap();
    let alias = scratch.join("alias");
    symlink(&bundle.path, &alias).unwrap();
    let firn = Runtime::firn(&scratch);
    for (options, other) in [(json!(["bind"]), "link"), (json!(["rbind"]), "link"), (json!(["rbind"]), "proc")] {
        let config = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
        let bundle = config.mount(bind(alias.join("rootfs/data"), options)).write();
        let swaps = vec![(root.join("data"), root.join(other))];
        race(&firn, &bundle, swaps, Duration::from_secs(1), |output| shows_nothing(output, "a race"));
    }
}

/// `mounts add`, whose source the running container turns into a link.
#[test]
fn a_mount_that_is_added_never_shows_the_kernels_files() {
    let scratch = Scratch::new("addsource");
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false)).shell("exec sleep 1000").write();
    let (root, firn) = (bundle.root(), Runtime::firn(&scratch));
    std::fs::create_dir_all(root.join("data/deep")).unwrap();
    std::fs::create_dir(root.join("x")).unwrap();
    symlink("/proc", root.join("link")).unwrap();
    symlink("/", root.join("whole")).unwrap();
    let alias = scratch.join("alias");
    symlink(&bundle.path, &alias).unwrap();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let add = |source: &Path, options: Value| {
        let list = scratch.write("list.json", &json!([bind(source, options)]).to_string());
        let list = list.to_string_lossy().into_owned();
        let added = firn.call(&["mounts", "add", firn.id(), &list]);
        if added.code == 0 {
            shows_nothing(&firn.exec(&["sh", "-c", LOOK]), &source.to_string_lossy());
            firn.call(&["mounts", "remove", firn.id(), &list]).succeeds();
        } else {
            assert!(added.stderr.len() > 10, "{added:?}");
        }
        added
    };
    for top in [root.clone(), alias.join("rootfs")] {
        for options in [json!(["bind"]), json!(["rbind"])] {
            let refused = add(&top.join("link"), options).fails(1).stderr;
            assert!(refused.contains("must not show a second time"), "{refused}");
        }
        let refused = add(&top.join("whole"), json!(["rbind"])).fails(1).stderr;
        assert!(refused.contains("it holds a mount of"), "{refused}");
        add(&top.join("data"), json!(["rbind"])).succeeds();
    }
    let _swapping = Swapping::new(vec![(root.join("data"), root.join("link"))]);
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(2) || count < 10 {
        add(&alias.join("rootfs/data"), if count % 2 == 0 { json!(["rbind"]) } else { json!(["bind"]) });
        count += 1;
    }
}

/// An image whose /dev, or a directory for a node, is a link to a volume: the
/// host's root would fill the volume.
#[test]
fn devices_are_never_made_in_a_volume() {
    let scratch = Scratch::new("devvolume");
    let firn = Runtime::firn(&scratch);
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    for user_namespace in [false, true] {
        let volume = scratch.directory(if user_namespace { "of-user" } else { "of-host" });
        for file in ["ptmx", "kept"] {
            std::fs::write(volume.join(file), "the volume's\n").unwrap();
        }
        std::fs::create_dir(volume.join("pts")).unwrap();
        let before = snapshot(&volume);
        let mut bundle = Bundle::new(&scratch).set("/root/readonly", json!(false)).shell("echo ran");
        if user_namespace {
            bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps.clone());
            bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
        }
        let root = bundle.root();
        let volume_at =
            |target: &str| json!({"destination": target, "type": "bind", "source": volume, "options": ["rbind"]});
        let config = bundle.config.clone();
        let base = || Bundle { path: root.parent().unwrap().to_owned(), config: config.clone() };
        let with_node = |bundle: Bundle, path: &str| {
            bundle.set("/linux/devices", json!([{"path": path, "type": "c", "major": 1, "minor": 3}]))
        };
        let without_dev = || without_mounts(base(), "/dev");
        // The places of mounts below it would be made in the volume.
        let mut mounts_below = base();
        mounts_below.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
        mounts_below.config["mounts"].as_array_mut().unwrap().insert(0, volume_at("/vol"));
        for (link, to, bundle) in [
            ("dev", "/vol", without_dev().mount(volume_at("/vol"))),
            ("dev", "vol/new/below", without_dev().mount(volume_at("/vol"))),
            ("dev", "/vol", mounts_below),
            ("mnt", "dev", without_dev().mount(volume_at("/mnt"))),
            ("nodes", "/vol", with_node(base().mount(volume_at("/vol")), "/nodes/node")),
            ("nodes", "/vol", with_node(base().mount(volume_at("/vol")), "/nodes/a/b/node")),
        ] {
            if user_namespace && link == "nodes" {
                // The host has no such node to bind.
                continue;
            }
            let bundle = bundle.write();
            let attack = format!("/{link} -> {to}");
            replace_by_link(&root.join(link), to);
            let output = firn.run(&bundle).fails(1);
            assert_eq!(snapshot(&volume), before, "{attack}: {output:?}");
            assert!(output.stderr.contains("a mount from outside the container"), "{attack}: {output:?}");
            firn.left_nothing();
            std::fs::remove_file(root.join(link)).unwrap();
            let _ = std::fs::remove_dir_all(root.join("dev"));
            std::fs::create_dir(root.join("dev")).unwrap();
        }
        // A file system of the container's own covers the volume, and is filled.
        symlink("/vol", root.join("nodes")).unwrap();
        std::fs::remove_dir_all(root.join("dev")).unwrap();
        symlink("/vol", root.join("dev")).unwrap();
        let mut config = config.clone();
        config["mounts"].as_array_mut().unwrap().insert(0, volume_at("/vol"));
        let bundle = Bundle { path: root.parent().unwrap().to_owned(), config };
        let bundle = bundle.shell("[ -c /dev/null ] && [ -L /dev/ptmx ] && echo ran").write();
        assert_eq!(firn.run(&bundle).succeeds().stdout, "ran\n");
        let after = snapshot(&volume);
        assert!(after.iter().all(|line| !line.contains("/null ")), "{after:?}");
        assert!(before.iter().filter(|line| line.contains("/ptmx ")).all(|line| after.contains(line)), "{after:?}");
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
}

/// What the image has at /dev/ptmx stays, and a terminal that is opened there is one
/// of the container's own devpts.
#[test]
fn the_images_own_ptmx_is_covered_and_not_deleted() {
    let scratch = Scratch::new("ptmx");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch)
        .set("/root/readonly", json!(false))
        .shell("exec 3<>/dev/ptmx; ls /dev/pts | sort | tr '\\n' ' '; echo");
    let bundle = without_mounts(bundle, "/dev")
        .mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}))
        .write();
    let place = bundle.root().join("dev/ptmx");
    std::fs::write(&place, "the image's\n").unwrap();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "0 ptmx \n");
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "the image's\n");
    std::fs::remove_file(&place).unwrap();
    command(Command::new("mknod").arg(&place).args(["c", "5", "2"])).succeeds();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "0 ptmx \n");
    assert!(!std::fs::symlink_metadata(&place).unwrap().is_symlink());
    // And one that was made before serves again.
    std::fs::remove_file(&place).unwrap();
    for _ in 0..2 {
        assert_eq!(firn.run(&bundle).succeeds().stdout, "0 ptmx \n");
    }
    firn.left_nothing();
}

/// A tmpfs that begins with what lies under it copies nothing of the kernel's.
#[test]
fn what_is_copied_up_is_never_the_kernels() {
    let scratch = Scratch::new("copyup");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false)).shell("ls /copy | wc -l");
    let config = bundle.config.clone();
    let root = bundle.root();
    for (target, kind) in
        [("/sys", "sysfs"), ("/proc", "mount"), ("/sys/fs/cgroup", "cgroup"), ("/sys/kernel", "sysfs")]
    {
        replace_by_link(&root.join("copy"), target);
        let bundle = Bundle { path: bundle.path.clone(), config: config.clone() };
        let options = json!(["tmpcopyup", "size=1m"]);
        let bundle = bundle
            .mount(json!({"destination": "/copy", "type": "tmpfs", "source": "tmpfs", "options": options}))
            .write();
        let output = firn.run(&bundle).fails(1);
        let refused = output.stderr.contains("is not copied") || target != "/sys" && output.stderr.contains(kind);
        assert!(refused, "{target}: {output:?}");
    }
    firn.left_nothing();
}
