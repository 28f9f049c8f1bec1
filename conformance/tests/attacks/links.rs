//! Links in the image, and mounts over what the runtime trusts.

use super::host::{Canary, confined_or_refused, replace_by_link, without_mounts};
use firn_conformance::harness::{Bundle, Runtime, Scratch};
use serde_json::json;
use std::path::Path;

/// CVE-2021-30465, CVE-2019-18837, CVE-2025-54867: whatever is made or mounted
/// for a container, a link in its image leads nowhere but into the image.
#[test]
fn links_in_the_image_lead_nothing_to_the_host() {
    let scratch = Scratch::new("links");
    let host = Canary::new(&scratch);
    let volume = scratch.directory("volume");
    let file = scratch.write("file", "volume's\n");
    let firn = Runtime::firn(&scratch);
    let mut bundle = Bundle::new(&scratch)
        .shell("cat /vol/secret /vol/dir/file /file /etc/resolv.conf /deep/er/secret 2>/dev/null; echo ran")
        .set("/root/readonly", json!(false))
        .set("/process/cwd", json!("/work/dir"))
        .set("/linux/devices", json!([{"path": "/nodes/fuse", "type": "c", "major": 10, "minor": 229}]))
        .mount(json!({"destination": "/vol", "type": "bind", "source": volume, "options": ["rbind"]}))
        .mount(json!({"destination": "/file", "type": "bind", "source": file, "options": ["bind"]}))
        .mount(json!({"destination": "/etc/resolv.conf", "type": "bind", "source": file, "options": ["bind"]}))
        .mount(json!({"destination": "/deep/er/tmp", "type": "tmpfs", "source": "tmpfs"}));
    bundle.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/masked"));
    bundle.config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/fixed"));
    let with_dev = bundle.write();
    // Once more with the image's own /dev.
    let own = scratch.directory("own-dev");
    let mut without_dev = Bundle { path: own, config: with_dev.config.clone() };
    without_dev.config["root"]["path"] = json!(with_dev.root());
    let without_dev = without_mounts(without_dev, "/dev").write();
    let dev_mounts = with_mounts_below_dev(&scratch, &without_dev);

    let depth = "../".repeat(20);
    let host_dir = host.path.to_str().unwrap();
    let mut tried = 0;
    for place in [
        "dev",
        "dev/pts",
        "dev/shm",
        "dev/mqueue",
        "dev/null",
        "dev/fd",
        "dev/ptmx",
        "proc",
        "sys",
        "etc",
        "vol",
        "file",
        "etc/resolv.conf",
        "deep",
        "deep/er",
        "work",
        "work/dir",
        "nodes",
        "nodes/fuse",
        "masked",
        "fixed",
    ] {
        for target in [
            host_dir.to_owned(),
            format!("{host_dir}/secret"),
            format!("{host_dir}/new/below"),
            format!("{depth}{host_dir}"),
            format!("{depth}{host_dir}/dir/made"),
            "/proc/1/root".to_owned(),
        ] {
            for bundle in [&with_dev, &without_dev, &dev_mounts] {
                if place.starts_with("dev") == std::ptr::eq(bundle, &with_dev) {
                    continue;
                }
                let root = with_dev.root();
                replace_by_link(&root.join(place), &target);
                let attack = format!("/{place} -> {target}");
                let output = firn.run(bundle);
                confined_or_refused(&output, &attack);
                host.check(&attack);
                firn.left_nothing();
                clean(&root);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
    assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0, "made in the volume");
    // What was attacked is a bundle that runs.
    assert_eq!(firn.run(&with_dev).succeeds().stdout, "volume's\nvolume's\nran\n");
}

/// The image's own /dev, with file systems mounted below it.
fn with_mounts_below_dev(scratch: &Scratch, base: &Bundle) -> Bundle {
    let mut bundle = Bundle { path: scratch.directory("dev-mounts"), config: base.config.clone() };
    for (name, kind) in [("pts", "devpts"), ("shm", "tmpfs"), ("mqueue", "mqueue")] {
        bundle = bundle.mount(json!({"destination": format!("/dev/{name}"), "type": kind, "source": kind}));
    }
    bundle.write()
}

/// Takes back what a link and a run have made of a busybox root.
fn clean(root: &Path) {
    for name in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if name.ends_with("bin") {
            continue;
        }
        if std::fs::symlink_metadata(&name).unwrap().is_dir() {
            std::fs::remove_dir_all(&name).unwrap();
        } else {
            std::fs::remove_file(&name).unwrap();
        }
    }
    for dir in ["etc", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir(root.join(dir)).unwrap();
    }
}

/// CVE-2023-27561, CVE-2019-19921: procfs and sysfs behind a link would leave
/// /proc and /sys themselves to the image.
#[test]
fn procfs_and_sysfs_are_not_mounted_behind_a_link() {
    let scratch = Scratch::new("proclink");
    let bundle = Bundle::new(&scratch).shell("true").set("/root/readonly", json!(false)).write();
    let firn = Runtime::firn(&scratch);
    for place in ["proc", "sys"] {
        for target in ["tmp", "/tmp", "/bin/busybox", "../../../tmp", "/"] {
            replace_by_link(&bundle.root().join(place), target);
            let output = firn.run(&bundle).fails(1);
            assert!(output.stderr.contains(&format!("/{place} is no directory")), "/{place} -> {target}: {output:?}");
            firn.left_nothing();
        }
        clean(&bundle.root());
    }
    // Also where the link is further up.
    replace_by_link(&bundle.root().join("up"), "tmp");
    let bundle = bundle.mount(json!({"destination": "/up/proc", "type": "proc", "source": "proc"})).write();
    firn.run(&bundle);
    let inside = std::fs::read_dir(bundle.root().join("tmp")).unwrap().count();
    assert!(inside <= 1, "mounted outside of the container's own namespace");
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: a mount over a part of /proc
/// would redirect what the runtime writes there.
#[test]
fn nothing_is_mounted_over_parts_of_proc() {
    let scratch = Scratch::new("overproc");
    let volume = scratch.directory("volume");
    let firn = Runtime::firn(&scratch);
    let base = Bundle::new(&scratch).shell("true").set("/root/readonly", json!(false));
    for (link, target) in [("alias", "/proc"), ("deep", "proc/self"), ("up", "../../proc/sys"), ("twice", "alias/self")]
    {
        replace_by_link(&base.root().join(link), target);
    }
    let mut config = base.config.clone();
    for destination in [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys/kernel",
        "/proc/net/dev",
        "/x/../proc/self/attr",
        "proc/./self/",
        "/alias",
        "/alias/self/attr",
        "/deep/attr",
        "/up",
        "/up/kernel",
        "/twice/attr",
        "/twice",
    ] {
        for (kind, source, options) in
            [("bind", volume.to_str().unwrap(), json!(["rbind"])), ("tmpfs", "tmpfs", json!([]))]
        {
            config["mounts"] = base.config["mounts"].clone();
            let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
            config["mounts"].as_array_mut().unwrap().push(mount);
            let bundle = Bundle { path: base.path.clone(), config: config.clone() }.write();
            let output = firn.run(&bundle).fails(1);
            assert!(output.stderr.contains("/proc"), "{destination}: {output:?}");
            firn.left_nothing();
        }
    }
    // Before /proc itself is mounted, its place is the image's.
    config["mounts"] = json!([{"destination": "/alias/sys", "type": "tmpfs", "source": "tmpfs"}]);
    config["mounts"].as_array_mut().unwrap().extend(base.config["mounts"].as_array().unwrap().iter().cloned());
    config["process"]["args"] = json!(["sh", "-c", "cat /proc/sys/kernel/ostype"]);
    let bundle = Bundle { path: base.path.clone(), config }.write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "Linux\n");
}

/// A fake /proc of the image's must get none of the runtime's writes.
#[test]
fn sysctls_go_to_the_kernel_and_not_to_the_images_proc() {
    let scratch = Scratch::new("fakeproc");
    let bundle = Bundle::new(&scratch)
        .shell("cat /real/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward")
        .set("/root/readonly", json!(false))
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .set("/process/oomScoreAdj", json!(500));
    let bundle = without_mounts(bundle, "/proc")
        .mount(json!({"destination": "/real", "type": "proc", "source": "proc"}))
        .write();
    let fake = bundle.root().join("proc/sys/net/ipv4");
    std::fs::create_dir_all(&fake).unwrap();
    std::fs::write(fake.join("ip_forward"), "fake\n").unwrap();
    let own = bundle.root().join("proc/self");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("oom_score_adj"), "fake\n").unwrap();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "1\nfake\n");
    assert_eq!(std::fs::read_to_string(own.join("oom_score_adj")).unwrap(), "fake\n");
    for key in ["kernel.core_pattern", "net/../kernel/core_pattern", "net/ipv4/../../vm/swappiness", "vm.swappiness"] {
        let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
        let bundle = bundle.set("/linux/sysctl", json!({key: "x"})).write();
        let output = firn.run(&bundle).fails(1);
        assert!(output.stderr.contains("not in a namespace"), "{key}: {output:?}");
    }
}
