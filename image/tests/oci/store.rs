//! The store of layers: shared, whole or not there, whoever is killed.

use crate::common::{IMAGE, Temp, text};
use crate::layout::{Blob, Layout, layer};
use crate::tar::Tar;
use crate::tree::tree;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A layer of `count` files.
fn many(name: &str, count: usize) -> Vec<u8> {
    let text = "text of a file\n".repeat(200);
    (0..count).fold(Tar::default(), |tar, number| tar.file(&format!("{name}/{number}"), &text)).end()
}

fn start(temp: &Temp, output: &str) -> Child {
    let mut command = Command::new(IMAGE);
    command.args(["bundle", "oci:img:v", "--layer-store", "store", "-o", output]).current_dir(&temp.0);
    command.stderr(Stdio::piped()).spawn().expect("run firn-image")
}

fn inode(temp: &Temp, tar: &[u8]) -> u64 {
    std::fs::metadata(layer(temp, tar)).expect("stat").ino()
}

#[test]
fn a_layer_is_unpacked_once_for_all_bundles() {
    let temp = Temp::new("store-shared");
    let (low, high) = (many("low", 3), many("high", 3));
    let layout = Layout::new(&temp).add("v", &[Blob::gzip(&low)]);
    // Other bytes of the same layer, and the layer twice.
    let layout = layout.add("w", &[Blob::plain(&low), Blob::gzip(&high), Blob::plain(&low)]);
    temp.made(&["oci:img:v", "--layer-store", "store", "-o", "one"]);
    let first = inode(&temp, &low);
    temp.made(&[&layout.reference("w"), "--layer-store", "store", "-o", "two"]);
    assert_eq!(inode(&temp, &low), first);
    let layers = temp.json("two/firn.json")["root"]["layers"].clone();
    assert_eq!(layers, serde_json::json!([layer(&temp, &high), layer(&temp, &low)]));
    assert_eq!(std::fs::metadata(temp.path("store")).expect("stat").mode() & 0o7777, 0o700);
    // Without its blobs: nothing is read again.
    std::fs::remove_dir_all(temp.path("img/blobs")).expect("remove");
    Layout::new(&temp).add("v", &[Blob::gzip(&low)]);
    temp.made(&["oci:img:v", "--layer-store", "store", "-o", "three"]);
}

#[test]
fn two_processes_share_the_work() {
    let temp = Temp::new("store-two");
    let layers: Vec<_> = ["a", "b", "c"].map(|name| many(name, 300)).into();
    Layout::new(&temp).add("v", &layers.iter().map(|tar| Blob::gzip(tar)).collect::<Vec<_>>());
    let children: Vec<_> = (0..6).map(|number| start(&temp, &format!("web{number}"))).collect();
    for child in children {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for (tar, name) in layers.iter().zip(["a", "b", "c"]) {
        assert_eq!(std::fs::read_dir(layer(&temp, tar).join(name)).expect("list").count(), 300);
    }
    assert_eq!(left_over(&temp), 0);
}

/// Directories in which layers are unpacked.
fn left_over(temp: &Temp) -> usize {
    let entries = std::fs::read_dir(temp.path("store")).into_iter().flatten();
    entries.filter(|entry| entry.as_ref().expect("entry").file_name().as_encoded_bytes().starts_with(b".")).count()
}

/// Killed again and again, later each time, until it is through before. A layer is never there in
/// part, and what was left is removed by the next run, of whatever image.
#[test]
fn a_kill_leaves_the_store_valid() {
    let temp = Temp::new("store-kill");
    let (a, b, small) = (many("a", 1500), many("b", 1500), many("small", 1));
    let other = Layout::named(&temp, "other").add("v", &[Blob::gzip(&small)]).reference("v");
    Layout::new(&temp).add("v", &[Blob::gzip(&a), Blob::gzip(&b)]);
    let (mut killed, mut abandoned) = (0, 0);
    for step in 0..60 {
        let mut child = start(&temp, "web");
        let end = Instant::now() + Duration::from_millis(2 * step);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        child.kill().expect("kill");
        let status = child.wait().expect("wait");
        for (tar, name) in [(&a, "a"), (&b, "b")] {
            if layer(&temp, tar).exists() {
                assert_eq!(tree(&layer(&temp, tar)).len(), 1501, "{name} is not whole");
            }
        }
        if status.signal() != Some(9) {
            break;
        }
        killed += 1;
        abandoned += left_over(&temp);
    }
    assert!(killed > 0 && abandoned > 0, "{killed} kills, {abandoned} directories left");
    std::fs::remove_dir_all(temp.path("store/sha256")).expect("remove");
    let _ = std::fs::remove_dir_all(temp.path("web"));
    temp.made(&[&other, "--layer-store", "store", "-o", "small"]);
    assert_eq!(left_over(&temp), 0);
    temp.made(&["oci:img:v", "--layer-store", "store", "-o", "web"]);
    assert_eq!(tree(&layer(&temp, &b)).len(), 1501);
}

#[test]
fn a_store_that_others_can_change_is_refused() {
    let temp = Temp::new("store-unsafe");
    let layout = Layout::new(&temp).add("v", &[Blob::gzip(&many("a", 1))]);
    std::fs::create_dir(temp.path("store")).expect("make directory");
    std::fs::set_permissions(temp.path("store"), PermissionsExt::from_mode(0o777)).expect("chmod");
    assert!(layout.refused("v").contains("it must belong to root and be writable by nobody else"));
    std::fs::set_permissions(temp.path("store"), PermissionsExt::from_mode(0o700)).expect("chmod");
    std::os::unix::fs::chown(temp.path("store"), Some(1000), None).expect("chown");
    assert!(layout.refused("v").contains("it must belong to root"));
}

#[test]
fn an_ordinary_user_is_told_to_be_root() {
    let temp = Temp::new("store-user");
    Layout::new(&temp).add("v", &[Blob::gzip(&many("a", 1))]);
    // By another process: a descriptor of ours would be inherited by what other tests start, and a file
    // that is open for writing is not executed (ETXTBSY).
    crate::dialects::run(&temp, &["cp", IMAGE, "firn-image"]);
    std::fs::set_permissions(&temp.0, PermissionsExt::from_mode(0o777)).expect("chmod");
    let mut command = Command::new(temp.path("firn-image"));
    command.args(["bundle", "oci:img:v", "-o", "web"]).current_dir(&temp.0).uid(65534).gid(65534);
    let output = command.output().expect("run firn-image");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("run firn-image as root"), "{}", text(&output.stderr));
    assert!(!temp.path("web").exists());
}

/// What is above the store has a default ACL and a group of its own, which new files inherit.
#[test]
fn nothing_is_inherited_from_the_store() {
    let temp = Temp::new("store-inherits");
    std::fs::create_dir(temp.path("store")).expect("make directory");
    std::os::unix::fs::chown(temp.path("store"), None, Some(77)).expect("chown");
    std::fs::set_permissions(temp.path("store"), PermissionsExt::from_mode(0o2755)).expect("chmod");
    crate::dialects::set_attribute(&temp.path("store"), "system.posix_acl_default", crate::dialects::ACL);
    let tar = Tar::default().directory("a").file("a/b", "").file("c/d", "").symlink("e", "a").end();
    Layout::new(&temp).add("v", &[Blob::gzip(&tar)]).copied("v");
    let made = tree(&layer(&temp, &tar));
    for (name, facts) in made {
        assert_eq!((facts.1, facts.2, facts.8.len(), facts.0 & 0o7000), (0, 0, 0, 0), "{}", name.display());
    }
    let top = std::fs::metadata(layer(&temp, &tar)).expect("stat");
    assert_eq!((top.gid(), top.mode() & 0o7777), (0, 0o755));
}
