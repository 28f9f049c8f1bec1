//! Mounts that depend on others, and those that come and go: `mounts add` and
//! `mounts remove`.

use firn_conformance::harness::{Bundle, Runtime, Scratch};
use serde_json::json;

#[test]
fn mounts_come_and_go_while_the_container_runs() {
    let scratch = Scratch::new("mounts");
    for user_namespace in [false, true] {
        let firn = Runtime::firn(&scratch);
        let source = scratch.folder(if user_namespace { "own" } else { "host" });
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
    let tree = scratch.folder("tree");
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
