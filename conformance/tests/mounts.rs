//! Mounts that depend on others, and those that come and go: `mounts add` and
//! `mounts remove`.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, command};
use serde_json::json;
use std::process::Command;

#[test]
fn mounts_come_and_go_while_the_container_runs() {
    let scratch = Scratch::new("mounts");
    for user_namespace in [false, true] {
        let firn = Runtime::firn(&scratch);
        let source = scratch.directory(if user_namespace { "own" } else { "host" });
        std::fs::write(source.join("file"), "of the host").unwrap();
        let mut bundle = Bundle::new(&scratch).shell("exec sleep 1000");
        if user_namespace {
            let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
            bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
        }
        let bundle = bundle.set("/root/readonly", json!(false)).write();
        firn.create(&bundle).succeeds();
        firn.start().succeeds();
        let list = json!([
            {"destination": "/new/data", "source": source, "options": ["rbind", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
        ]);
        let file = scratch.write("list.json", &list.to_string());
        let file = file.to_string_lossy().into_owned();
        firn.call(&["mounts", "add", firn.id(), &file]).succeeds();
        assert_eq!(firn.exec(&["cat", "/new/data/file"]).succeeds().stdout, "of the host");
        assert!(firn.exec(&["touch", "/new/data/x"]).fails(1).stderr.contains("Read-only"));
        assert!(firn.exec(&["grep", " /tmp ", "/proc/mounts"]).succeeds().stdout.contains("size=1024k"));
        firn.call(&["mounts", "remove", firn.id(), &file]).succeeds();
        assert_eq!(firn.exec(&["ls", "/new/data"]).succeeds().stdout, "");
        let gone = firn.call(&["mounts", "remove", firn.id(), &file]).fails(1).stderr;
        assert!(gone.contains("unmount /tmp: nothing is mounted there"), "{gone}");
        // One that is read-only gets the places for others first.
        let list = json!([{"destination": "/tmp", "type": "tmpfs", "options": ["ro"]},
            {"destination": "/tmp/below", "type": "tmpfs"}]);
        let nested = scratch.write("nested.json", &list.to_string());
        firn.call(&["mounts", "add", firn.id(), &nested.to_string_lossy()]).succeeds();
        assert!(firn.exec(&["touch", "/tmp/x"]).fails(1).stderr.contains("Read-only"));
        firn.exec(&["touch", "/tmp/below/x"]).succeeds();
        firn.call(&["mounts", "remove", firn.id(), &nested.to_string_lossy()]).succeeds();
        // One that fails takes those before it along.
        let list = json!([{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "nosuchfs"}]);
        let bad = scratch.write("bad.json", &list.to_string());
        let error = firn.call(&["mounts", "add", firn.id(), &bad.to_string_lossy()]).fails(1).stderr;
        assert!(error.contains("mount /b") && error.contains("nosuchfs"), "{error}");
        firn.exec(&["grep", " /a ", "/proc/mounts"]).fails(1);
        let root = scratch.write("root.json", r#"[{"destination": "/x/..", "type": "tmpfs"}]"#);
        let error = firn.call(&["mounts", "remove", firn.id(), &root.to_string_lossy()]).fails(1).stderr;
        assert!(error.contains("would cover the root"), "{error}");
        firn.call(&["delete", "--force", firn.id()]).succeeds();
        firn.left_nothing();
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
}

/// Binds whose source is what mounts before them have made in the root; both
/// paths may be those that the host has for them.
#[test]
fn a_bind_may_show_a_part_of_the_containers_own_root() {
    let scratch = Scratch::new("mountorder");
    let firn = Runtime::firn(&scratch);
    let tree = scratch.directory("tree");
    for dir in ["a/x", "b/y", "c"] {
        std::fs::create_dir_all(tree.join(dir)).unwrap();
    }
    std::fs::write(tree.join("c/file"), "the deepest").unwrap();
    let bind = |source: String, target: &str| json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate"]});
    let of_host = |name: &str| tree.join(name).to_str().unwrap().to_owned();
    let bundle = Bundle::new(&scratch).args(&["cat", "/final/x/y/file"]);
    let root = bundle.root().to_str().unwrap().to_owned();
    std::fs::create_dir(bundle.root().join("mnt")).unwrap();
    let bundle = bundle
        .mount(bind(of_host("a"), "/mnt"))
        .mount(bind(of_host("b"), "/mnt/x"))
        .mount(bind(of_host("c"), "/mnt/x/y"))
        .mount(bind(format!("{root}/mnt"), &format!("{root}/final")))
        .write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "the deepest");
    // A link in the image leads to nothing of the host's.
    std::os::unix::fs::symlink(&tree, bundle.root().join("link")).unwrap();
    let bundle = bundle.mount(bind(format!("{root}/link"), "/tmp")).write();
    let output = firn.run(&bundle).fails(1);
    assert!(output.stderr.contains("bind mount source /link in the root: no such file or directory"), "{output:?}");
    firn.left_nothing();
}

/// Linux 6.8 and later list mounts by when they were made, a bind's from when its
/// source was opened.
#[test]
fn mounts_are_listed_in_the_order_of_the_config() {
    let scratch = Scratch::new("mountlist");
    let source = scratch.directory("source");
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false));
    let targets: Vec<String> = bundle.config["mounts"].as_array().unwrap().iter().map(target).collect();
    assert!(targets.contains(&"/proc".into()), "{targets:?}");
    let bundle = bundle
        .mount(json!({"destination": "/first", "type": "bind", "source": source, "options": ["bind"]}))
        .mount(json!({"destination": "/second", "type": "tmpfs", "source": "tmpfs"}))
        .mount(json!({"destination": "/third", "type": "bind", "source": source, "options": ["rbind", "ro"]}))
        .shell("awk '{ print $5 }' /proc/self/mountinfo")
        .write();
    let expected: Vec<String> = bundle.config["mounts"].as_array().unwrap().iter().map(target).collect();
    for runtime in [Runtime::firn(&scratch), Runtime::new(program("runc", "runc"), &scratch)] {
        let output = runtime.run(&bundle).succeeds().stdout;
        let listed: Vec<&str> = output.lines().filter(|line| expected.iter().any(|target| target == line)).collect();
        assert_eq!(listed, expected, "{runtime:?}");
    }
}

fn target(mount: &serde_json::Value) -> String {
    mount["destination"].as_str().expect("a mount has a destination").to_owned()
}

/// The container's own root, seen through a bind of a directory above it, is the
/// host's directory: without the /proc that is mounted there by then. By whatever name.
#[test]
fn a_source_that_holds_the_root_shows_none_of_its_mounts() {
    let scratch = Scratch::new("mountabove");
    let bundle = Bundle::new(&scratch);
    std::fs::create_dir(bundle.root().join("above")).unwrap();
    let above = scratch.path().to_path_buf();
    let inside = bundle.root().strip_prefix(&above).unwrap().join("proc");
    let link = scratch.join("link");
    std::os::unix::fs::symlink(&above, &link).unwrap();
    let firn = Runtime::firn(&scratch);
    for source in [above.clone(), link, above.join("bundle/..")] {
        let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() }
            .mount(json!({"destination": "/above", "type": "bind", "source": source, "options": ["rbind"]}))
            .shell(&format!("ls -A /above/{} | wc -l", inside.display()))
            .write();
        assert_eq!(firn.run(&bundle).succeeds().stdout, "0\n", "{}", source.display());
    }
    firn.left_nothing();
}

/// Each has its own options, and neither takes the other's cgroups away.
#[test]
fn the_cgroup_may_be_mounted_twice() {
    let scratch = Scratch::new("mounttwice");
    let firn = Runtime::firn(&scratch);
    let count = "for dir in /sys/fs/cgroup /again; do find $dir -name cgroup.procs | wc -l; done";
    let bundle = Bundle::new(&scratch).shell(count);
    std::fs::create_dir(bundle.root().join("again")).unwrap();
    let bundle = bundle.mount(json!({"destination": "/again", "type": "cgroup", "source": "cgroup"})).write();
    let output = firn.run(&bundle).succeeds().stdout;
    let (first, second) = output.trim().split_once('\n').unwrap();
    assert!(first == second && first != "0", "{output}");
    firn.left_nothing();
}

/// What is mounted below a bind while the container runs: from inside, whether the
/// host sees it; from the host, whether the container does.
#[test]
fn mounts_spread_as_under_runc() {
    let scratch = Scratch::new("mountspread");
    let source = scratch.directory("source");
    let path = source.to_str().unwrap();
    let host = |words: &[&str]| command(Command::new(words[0]).args(&words[1..])).succeeds();
    host(&["mount", "-t", "tmpfs", "tmpfs", path]);
    host(&["mount", "--make-shared", path]);
    let (inner, outer) = (source.join("inner"), source.join("outer"));
    std::fs::create_dir(&inner).unwrap();
    std::fs::create_dir(&outer).unwrap();
    let base = Bundle::new(&scratch);
    for (root, option, goes_out, comes_in) in [
        ("", "rprivate", false, false),
        ("", "rslave", false, true),
        ("", "rshared", false, true),
        ("rslave", "rslave", false, true),
        ("rslave", "rshared", false, true),
        ("rshared", "rslave", false, true),
        ("rshared", "rshared", true, true),
        ("private", "rslave", false, true),
    ] {
        let all = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN"];
        let bundle = Bundle { path: base.path.clone(), config: base.config.clone() }
            .set("/linux/rootfsPropagation", json!(root))
            .set("/process/capabilities", json!({"bounding": all, "effective": all, "permitted": all}))
            .mount(json!({"destination": "/tmp", "type": "bind", "source": path, "options": ["rbind", option]}))
            .shell("mount -t tmpfs x /tmp/inner && : > /tmp/inner/file && exec sleep 1000")
            .write();
        for runtime in [Runtime::firn(&scratch), Runtime::new(program("runc", "runc"), &scratch)] {
            runtime.create(&bundle).succeeds();
            runtime.start().succeeds();
            let script = "for n in $(seq 100); do test -e /tmp/inner/file && exit; sleep 0.1; done; exit 1";
            runtime.exec(&["sh", "-c", script]).succeeds();
            let out = inner.join("file").exists();
            host(&["mount", "-t", "tmpfs", "tmpfs", outer.to_str().unwrap()]);
            std::fs::write(outer.join("file"), "").unwrap();
            let inside = runtime.exec(&["test", "-e", "/tmp/outer/file"]).code == 0;
            runtime.call(&["delete", "--force", runtime.id()]).succeeds();
            host(&["umount", outer.to_str().unwrap()]);
            if inner.join("file").exists() {
                host(&["umount", inner.to_str().unwrap()]);
            }
            assert_eq!((out, inside), (goes_out, comes_in), "{root:?} {option} {runtime:?}");
        }
    }
    host(&["umount", path]);
}

#[test]
fn mounts_of_a_running_container_are_its_own() {
    let scratch = Scratch::new("mountadd");
    let firn = Runtime::firn(&scratch);
    let source = scratch.directory("source");
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false)).shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let call = |verb: &str, list: serde_json::Value| {
        let file = scratch.write("list.json", &list.to_string());
        firn.call(&["mounts", verb, firn.id(), file.to_str().unwrap()])
    };
    for kind in ["proc", "sysfs", "mqueue"] {
        let error = call("add", json!([{"destination": "/host", "type": kind, "source": kind}])).fails(1).stderr;
        assert!(error.contains(&format!("mount /host: a new {kind} would be the host's")), "{error}");
    }
    // A link that the container makes leads to none of its masks.
    let list = json!([{"destination": "/srv/app/sys", "type": "bind", "source": source, "options": ["bind"]}]);
    call("add", list.clone()).succeeds();
    firn.exec(&["sh", "-c", "mv /srv/app /srv/other && ln -s /proc /srv/app"]).succeeds();
    let error = call("remove", list).fails(1).stderr;
    assert!(error.contains("behind a symbolic link"), "{error}");
    assert!(
        firn.exec(&["sh", "-c", "echo core > /proc/sys/kernel/core_pattern"]).fails(1).stderr.contains("Read-only")
    );
    // What was mounted before an error goes again.
    let list = json!([{"destination": "/one", "type": "tmpfs"}, {"destination": "/two", "type": "nonesuch"}]);
    call("add", list).fails(1);
    assert_eq!(firn.exec(&["grep", "-c", " /one ", "/proc/mounts"]).stdout, "0\n");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}
