//! Images of directories with everything that a root may hold.

use crate::common::Temp;
use crate::fixture::{built, documents, firn_image, refused, success, unpacked};
use crate::tree::{ALL, describe};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// A capability set of version 2: CAP_NET_BIND_SERVICE, permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn write(path: &Path, data: &[u8], mode: u32) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("make directory");
    std::fs::write(path, data).expect("write");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
}

fn set_time(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("set times");
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).expect("make a node");
}

/// Everything that a directory of a root may hold.
fn odd_files(top: &Path) {
    let path = |name: &str| top.join(name);
    write(&path("bin/plain"), b"plain", 0o755);
    write(&path("bin/setuid"), b"setuid", 0o4711);
    lchown(path("bin/plain"), Some(3_000_000), Some(4_000_000_000)).expect("chown");
    std::fs::hard_link(path("bin/plain"), path("again")).expect("link");
    std::fs::hard_link(path("bin/plain"), path("bin/third")).expect("link");
    write(&path("bin/ping"), b"ping", 0o755);
    setxattr(path("bin/ping"), "security.capability", &CAPABILITY, XattrFlags::empty()).expect("set capability");
    setxattr(path("bin/ping"), "user.note", b"a\0b\nc=d", XattrFlags::empty()).expect("set attribute");
    // POSIX ACL version 2: user::rwx, user:7:r--, group::r-x, mask::r-x, other::r-x.
    let entries = [(1u16, 7u16, u32::MAX), (2, 4, 7), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 5, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    write(&path("acl/file"), b"", 0o755);
    setxattr(path("acl/file"), "system.posix_acl_access", &acl, XattrFlags::empty()).expect("set ACL");
    setxattr(path("acl"), "system.posix_acl_default", &acl, XattrFlags::empty()).expect("set ACL");

    let long = "long-".repeat(50);
    write(&top.join(&long).join(&long).join("leaf"), b"deep", 0o600);
    symlink("../".repeat(60) + "far", path("far")).expect("link");
    symlink("absent", path("dangling")).expect("link");
    symlink(OsStr::from_bytes(b"\xff\xfe"), path("to-bytes")).expect("link");
    write(&top.join(OsStr::from_bytes(b"n\xff\xc3")), b"not UTF-8", 0o644);
    write(&top.join(OsStr::from_bytes(&b"\xf0".repeat(120))), b"long and not UTF-8", 0o644);
    write(&path("new\nline ü"), b"", 0o000);
    std::fs::create_dir_all(path("empty/sticky")).expect("make directory");
    std::fs::set_permissions(path("empty/sticky"), PermissionsExt::from_mode(0o1777)).expect("chmod");
    let sparse = std::fs::File::create(path("sparse")).expect("make");
    sparse.set_len(3 << 20).expect("grow");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (2 << 20) + 5).expect("write");
    node(&path("fifo"), FileType::Fifo, 0);
    node(&path("null"), FileType::CharacterDevice, makedev(1, 3));
    node(&path("disk"), FileType::BlockDevice, makedev(259, 300_000));
    symlink("elsewhere", path("bin/sh")).expect("link");
    lchown(path("bin/sh"), Some(5), Some(6)).expect("chown");
    set_time(&path("bin/setuid"), 1_700_000_000, 123_456_789);
    set_time(&path("sparse"), -5, 250_000_000);
    set_time(&path("dangling"), 1_600_000_000, 0);
    set_time(&path("bin"), 1_500_000_000, 987_654_321);
    set_time(top, 1_400_000_000, 0);
}

#[test]
fn a_directory_with_odd_files_comes_back_whole() {
    let temp = Temp::new("build-odd");
    let top = temp.path("root");
    std::fs::create_dir(&top).expect("make directory");
    odd_files(&top);
    built(&temp, &["--layer", "root", "--output", "oci:image:odd"]);
    let root = unpacked(&temp, "image:odd", "bundle");
    let (source, copy) = (describe(&top, ALL), describe(&root, ALL));
    for (path, line) in &source {
        assert_eq!(Some(line), copy.get(path), "{path:?}");
    }
    assert_eq!(source.len(), copy.len(), "{copy:?}");
}

#[test]
fn gnu_tar_lists_what_is_in_a_layer() {
    let temp = Temp::new("build-gnu");
    let top = temp.path("root");
    std::fs::create_dir(&top).expect("make directory");
    odd_files(&top);
    built(&temp, &["--layer", "root", "--compression", "none", "--output", "oci:image:odd"]);
    let (manifest, _) = documents(&temp.path("image"), "odd");
    let blob = crate::fixture::blob_path(&temp.path("image"), &manifest["layers"][0]);
    let other = temp.path("other");
    std::fs::create_dir(&other).expect("make directory");
    let mut tar = std::process::Command::new("tar");
    tar.args([
        "--extract",
        "--numeric-owner",
        "--same-owner",
        "--preserve-permissions",
        "--xattrs",
        "--xattrs-include=*",
    ]);
    success(tar.arg("--file").arg(blob).arg("--directory").arg(&other));
    assert_eq!(describe(&top, ALL), describe(&other, ALL));
}

#[test]
fn marks_of_overlayfs_become_whiteouts() {
    let temp = Temp::new("build-whiteouts");
    let low: PathBuf = temp.path("low");
    for name in ["gone", "dir/hidden", "dir/also", "kept/old", "replaced"] {
        write(&low.join(name), b"low", 0o644);
    }
    let high = temp.path("high");
    std::fs::create_dir_all(high.join("kept")).expect("make directory");
    std::fs::create_dir_all(high.join("dir")).expect("make directory");
    node(&high.join("gone"), FileType::CharacterDevice, 0);
    node(&high.join("kept/old"), FileType::CharacterDevice, 0);
    setxattr(high.join("dir"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("set attribute");
    setxattr(high.join("dir"), "trusted.overlay.origin", b"x", XattrFlags::empty()).expect("set attribute");
    write(&high.join("dir/new"), b"high", 0o644);
    write(&high.join("replaced/inside"), b"high", 0o644);
    built(&temp, &["--layer", "low", "--layer", "high", "--output", "oci:image:x"]);
    let root = unpacked(&temp, "image:x", "bundle");
    let names: Vec<_> = describe(&root, ALL).into_keys().collect();
    assert_eq!(names, ["", "dir", "dir/new", "kept", "replaced", "replaced/inside"].map(PathBuf::from));
    let line = &describe(&root, ALL)[Path::new("dir")];
    assert!(!line.contains("overlay"), "{line}");
}

#[test]
fn what_has_no_meaning_in_an_image_is_refused() {
    let temp = Temp::new("build-refused");
    let refused_with = |reason: &str, make: &dyn Fn(&Path)| {
        let top = temp.path("root");
        std::fs::create_dir(&top).expect("make directory");
        make(&top);
        let message = refused(&temp, &["--layer", "root", "--output", "oci:image:x"]);
        assert!(message.contains(reason), "{message}");
        std::fs::remove_dir_all(&top).expect("remove");
    };
    refused_with("whiteouts in an image", &|top| write(&top.join("etc/.wh.motd"), b"", 0o644));
    refused_with("mount the layers", &|top| {
        std::fs::create_dir(top.join("moved")).expect("make directory");
        setxattr(top.join("moved"), "trusted.overlay.redirect", b"/old", XattrFlags::empty()).expect("set attribute");
    });
    refused_with("no name for an archive", &|top| {
        write(&top.join("file"), b"", 0o644);
        setxattr(top.join("file"), "user.a=b", b"", XattrFlags::empty()).expect("set attribute");
    });
    let index = crate::fixture::json(&temp.path("image/index.json"));
    assert_eq!(index["manifests"], serde_json::json!([]), "nothing was built");
}

#[test]
fn sockets_are_left_out_with_a_warning() {
    let temp = Temp::new("build-socket");
    std::fs::create_dir(temp.path("root")).expect("make directory");
    let _socket = std::os::unix::net::UnixListener::bind(temp.path("root/socket")).expect("bind");
    let output = firn_image(&temp, &["build", "--layer", "root", "--output", "oci:image:x"]).output().expect("run");
    assert!(output.status.success());
    assert!(crate::common::text(&output.stderr).contains("warning: /socket: a socket"));
    let root = unpacked(&temp, "image:x", "bundle");
    assert_eq!(describe(&root, ALL).len(), 1);
}

#[test]
fn later_times_than_source_date_epoch_become_it() {
    let temp = Temp::new("build-epoch");
    write(&temp.path("root/old"), b"", 0o644);
    write(&temp.path("root/new"), b"", 0o644);
    set_time(&temp.path("root/old"), 1_000_000_000, 5);
    let mut command = firn_image(&temp, &["build", "--layer", "root", "--output", "oci:image:x"]);
    success(command.env("SOURCE_DATE_EPOCH", "1500000000"));
    let (_, config) = documents(&temp.path("image"), "x");
    assert_eq!(config["created"], "2017-07-14T02:40:00.000000000Z");
    let tree = describe(&unpacked(&temp, "image:x", "bundle"), ALL);
    for (name, time) in [("old", "1000000000.000000005"), ("new", "1500000000.000000000"), ("", "1500000000.000000000")]
    {
        let line = &tree[Path::new(name)];
        assert!(line.contains(&format!("time={time}")), "{name}: {line}");
    }
    let mut command = firn_image(&temp, &["build", "--layer", "root", "--output", "oci:image:x"]);
    let output = command.env("SOURCE_DATE_EPOCH", "yesterday").output().expect("run");
    assert!(crate::common::text(&output.stderr).contains("it must be seconds since 1970"));
}

/// Files of the layer are exchanged for links to the host's, over and over, while images are built.
#[test]
fn an_image_follows_no_link_that_takes_a_files_place() {
    let temp = Temp::new("build-race");
    let secret = temp.file("secret/file", "the host's", 0o600);
    write(&temp.path("root/dir/file"), b"the layer's", 0o644);
    symlink(secret.parent().expect("a parent"), temp.path("root/other")).expect("link");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, other) = (temp.path("root/dir"), temp.path("root/other"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &dir, CWD, &other, exchange).expect("exchange");
            }
        });
        for _ in 0..100 {
            let args = ["build", "--layer", "root", "--compression", "none", "--output", "oci:image:x"];
            // It may well fail; it must not follow.
            firn_image(&temp, &args).output().expect("run");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for blob in std::fs::read_dir(temp.path("image/blobs/sha256")).expect("list") {
        let bytes = std::fs::read(blob.expect("entry").path()).expect("read");
        let leaked = bytes.windows(10).any(|window| window == b"the host's");
        assert!(!leaked, "the host's file is in the image");
    }
}
