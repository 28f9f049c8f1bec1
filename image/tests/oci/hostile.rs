//! Archives that are made to harm: an error or harmless, and nothing outside of the layer.

use crate::common::{IMAGE, Temp, text};
use crate::layout::{Blob, Layout, digest, gzip, layer};
use crate::tar::{Header, Tar};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an image of one layer is refused with. Nothing is left in the store, nor beside it.
fn refused(name: &str, tar: &[u8]) -> String {
    blob_refused(name, Blob::gzip(tar))
}

fn blob_refused(name: &str, blob: Blob) -> String {
    let temp = Temp::new(&format!("hostile-{name}"));
    let message = Layout::new(&temp).add("x", &[blob]).refused("x");
    check_store(&temp);
    assert_eq!(temp.names(), ["img", "store"], "{name}");
    message
}

/// No layer, and no directory in which one was unpacked.
fn check_store(temp: &Temp) {
    for entry in std::fs::read_dir(temp.path("store")).expect("list") {
        assert_eq!(entry.expect("entry").file_name(), "sha256");
    }
    for entry in std::fs::read_dir(temp.path("store/sha256")).into_iter().flatten() {
        let name = entry.expect("entry").file_name();
        assert!(name.to_string_lossy().ends_with(".lock"), "{name:?}");
    }
}

#[test]
fn paths_that_climb_are_refused() {
    for (number, path) in ["../out", "a/../../out", "./..", "/../out", "a/.."].into_iter().enumerate() {
        let message = refused(&format!("climb-{number}"), &Tar::default().directory("a").file(path, "x").end());
        assert!(message.contains("its path has a \"..\""), "{path}: {message}");
    }
    for (number, target) in ["../../secret", "/a/../../secret"].into_iter().enumerate() {
        let message = refused(&format!("climb-link-{number}"), &Tar::default().hard_link("x", target).end());
        assert!(message.contains("its path has a \"..\""), "{target}: {message}");
    }
    let message = refused("host", &Tar::default().hard_link("x", "/etc/passwd").end());
    assert!(message.contains("a hard link to /etc/passwd, which is not in the same layer"), "{message}");
}

/// The links lead to a directory that exists, from the host's root and from the layer.
#[test]
fn nothing_is_written_through_a_symbolic_link_to_the_outside() {
    let temp = Temp::new("hostile-links");
    let outside = temp.path("outside");
    std::fs::create_dir(&outside).expect("make directory");
    temp.file("outside/file", "untouched", 0o600);
    let absolute = outside.to_str().expect("utf-8");
    let climbing = format!("{}{absolute}", "../".repeat(30));
    let mut layout = Layout::new(&temp);
    for (tag, target) in [("absolute", absolute), ("climbing", &climbing)] {
        let file = format!("{target}/file");
        for (way, tar) in [
            ("through", Tar::default().symlink("l", target).file("l/new", "x")),
            ("deeper", Tar::default().symlink("l", target).file("l/a/b", "x")),
            ("whiteout", Tar::default().symlink("l", target).file("l/.wh.file", "")),
            ("opaque", Tar::default().symlink("l", target).file("l/.wh..wh..opq", "")),
            ("linked", Tar::default().symlink("l", target).hard_link("x", "l/file")),
        ] {
            layout = layout.add(&format!("{tag}-{way}"), &[Blob::plain(&tar.end())]);
            let message = layout.refused(&format!("{tag}-{way}"));
            let expected = ["no directory", "not in the same layer"];
            assert!(expected.iter().any(|text| message.contains(text)), "{tag}-{way}: {message}");
        }
        // A name of a link is taken by the later entry, and its target is left alone.
        let tar = Tar::default().symlink("l", &file).file("l", "mine").symlink("m", &file).hard_link("n", "m");
        let tar = tar.file("n", "mine").directory("m").end();
        layout = layout.add(&format!("{tag}-over"), &[Blob::plain(&tar)]);
        let root = layout.copied(&format!("{tag}-over"));
        for name in ["l", "n"] {
            assert_eq!(std::fs::read_to_string(root.join(name)).expect("read"), "mine");
            assert!(!root.join(name).is_symlink());
        }
        assert!(root.join("m").is_dir() && !root.join("m").is_symlink());
    }
    assert_eq!(std::fs::read_dir(&outside).expect("list").count(), 1);
    assert_eq!(std::fs::read_to_string(outside.join("file")).expect("read"), "untouched");
    assert_eq!(std::fs::metadata(outside.join("file")).expect("stat").nlink(), 1);
}

/// As in a root: podman unpacks in a chroot.
#[test]
fn a_link_within_the_layer_leads_within_the_layer() {
    let temp = Temp::new("hostile-inner");
    let tar = Tar::default().directory("usr").directory("usr/lib").symlink("lib", "/usr/lib");
    let tar = tar.symlink("up", "../../../../usr").file("lib/a", "a").file("up/lib/b", "b").file("lib/c/d", "d");
    let root = Layout::new(&temp).add("x", &[Blob::plain(&tar.end())]).copied("x");
    for name in ["a", "b", "c/d"] {
        assert!(root.join("usr/lib").join(name).is_file(), "{name}");
    }
    assert!(root.join("lib").is_symlink() && root.join("up").is_symlink());
}

/// The kernel gives up a look-up with `..` when something is renamed anywhere meanwhile (EAGAIN).
#[test]
fn renames_elsewhere_do_not_disturb() {
    let temp = Temp::new("hostile-renames");
    let tar = Tar::default().directory("usr").symlink("up", &format!("{}usr", "../".repeat(40)));
    let tar = (0..400).fold(tar, |tar, number| tar.file(&format!("up/{number}/file"), ""));
    let layout = Layout::new(&temp).add("x", &[Blob::plain(&tar.end())]);
    // In memory, where a rename takes no time: it counts wherever it is.
    let name = |number| Path::new("/dev/shm").join(format!("firn-image-renames-{}-{number}", std::process::id()));
    let (one, other) = (name(1), name(2));
    std::fs::write(&one, "").expect("write");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = std::fs::rename(&one, &other).and_then(|()| std::fs::rename(&other, &one));
            }
        });
        let made = temp.bundle(&[&layout.reference("x"), "--layer-store", "store", "-o", "web"]);
        done.store(true, Ordering::Relaxed);
        let _ = [&one, &other].map(std::fs::remove_file);
        assert!(made.status.success(), "{}", text(&made.stderr));
    });
}

#[test]
fn marks_of_overlayfs_in_an_archive_are_not_applied() {
    let temp = Temp::new("hostile-marks");
    let low = Tar::default().directory("secret").file("secret/key", "key").directory("d").file("d/below", "").end();
    let mut high = Tar::default();
    for (name, key, value) in [
        ("redirect", "trusted.overlay.redirect", &b"/secret"[..]),
        ("d", "trusted.overlay.opaque", b"y"),
        ("user", "user.overlay.redirect", b"/secret"),
        ("meta", "trusted.overlay.metacopy", b""),
        ("kept", "user.note", b"kept"),
        ("label", "security.selinux", b"host_t"),
    ] {
        high = high.pax(b'x', &[(&format!("SCHILY.xattr.{key}"), value)]).directory(name);
    }
    let high = high.end();
    let layout = Layout::new(&temp).add("x", &[Blob::gzip(&low), Blob::gzip(&high)]);
    let root = layout.copied("x");
    assert!(!root.join("redirect/key").exists() && !root.join("user/key").exists());
    assert!(root.join("d/below").exists());
    let attributes = |name: &str| {
        let mut list = vec![0; 4096];
        let length = rustix::fs::llistxattr(layer(&temp, &high).join(name), &mut list).expect("list attributes");
        String::from_utf8_lossy(&list[..length]).into_owned()
    };
    for name in ["redirect", "d", "user", "meta", "label"] {
        assert_eq!(attributes(name), "", "{name}");
    }
    assert_eq!(attributes("kept"), "user.note\0");
    // A whiteout in the form of overlayfs would hide a name that the archive does not name.
    let device = Header { kind: b'3', path: b"secret", ..Header::default() };
    let message = refused("device", &Tar::default().member(&device, b"").end());
    assert!(message.contains("which overlayfs takes for a whiteout"), "{message}");
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let long = "x".repeat(256);
    let header = |kind, path| Header { kind, path, ..Header::default() };
    let with_data = |kind| Header { size: 5, link: b"a", ..header(kind, b"x") };
    for (name, tar, wanted) in [
        ("root-file", Tar::default().file(".", "x"), "the root of a layer is a directory"),
        ("root-link", Tar::default().symlink("/", "/etc"), "the root of a layer is a directory"),
        ("no-name", Tar::default().file(".wh.", ""), "a whiteout without a name"),
        ("dot", Tar::default().file("a/.wh..", ""), "a whiteout without a name"),
        ("dot-dot", Tar::default().file("a/.wh...", ""), "a whiteout without a name"),
        ("over-directory", Tar::default().directory("a").file("a", ""), "is a directory there"),
        ("link-directory", Tar::default().directory("a").hard_link("b", "a"), "a hard link to a directory"),
        ("link-root", Tar::default().hard_link("b", "/"), "a hard link to the root"),
        ("link-self", Tar::default().hard_link("b", "b"), "a hard link to itself"),
        ("link-gone", Tar::default().file(".wh.a", "").hard_link("b", "a"), "not in the same layer"),
        ("below-file", Tar::default().file("a", "").file("a/b", ""), "is no directory"),
        ("empty-target", Tar::default().symlink("a", ""), "empty, too long"),
        ("type", Tar::default().member(&header(b'M', b"x"), b""), "its type is not known"),
        ("long-name", Tar::default().long(b'L', long.as_bytes()).file("x", ""), "more than 255 bytes"),
        ("nul", Tar::default().pax(b'x', &[("path", b"a\0b")]).file("x", ""), "a NUL byte"),
        ("owner", Tar::default().pax(b'x', &[("uid", b"4294967295")]).file("x", ""), "its owner is no id"),
        ("link-data", Tar::default().member(&with_data(b'1'), b"hello"), "which its type does not have"),
        ("directory-data", Tar::default().member(&with_data(b'5'), b"hello"), "which its type does not have"),
        (
            "slash-data",
            Tar::default().member(&Header { size: 5, ..header(b'0', b"x/") }, b"hello"),
            "a directory with data",
        ),
    ] {
        let message = refused(name, &tar.end());
        assert!(message.contains(wanted), "{name}: {message}");
    }
}

/// Two programs would see two archives (CVE-2025-62518 is such a case).
#[test]
fn dialects_that_disagree_are_refused() {
    let wrong_sum = {
        let mut tar = Tar::default().file("x", "").end();
        tar[0] = b'y';
        tar
    };
    let names = Tar::default().long(b'L', b"one").pax(b'x', &[("path", b"two")]).file("x", "").end();
    let lone = {
        let mut tar = Tar::default().file("x", "");
        tar.0.extend_from_slice(&[0; 512]);
        tar.file("hidden", "").end()
    };
    for (name, tar, wanted) in [
        ("names", names, "two different names"),
        ("twice", Tar::default().long(b'L', b"a").long(b'L', b"b").file("x", "").end(), "two headers of one kind"),
        ("pax-twice", Tar::default().pax(b'x', &[]).pax(b'x', &[]).file("x", "").end(), "two headers of one kind"),
        ("global", Tar::default().pax(b'g', &[("path", b"y")]).file("x", "").end(), "only some programs obey"),
        ("global-size", Tar::default().pax(b'g', &[("size", b"9")]).file("x", "").end(), "only some programs obey"),
        ("marker", lone, "a header follows the end marker"),
        ("checksum", wrong_sum, "the checksum of its header is wrong"),
        ("size", Tar::default().pax(b'x', &[("size", b"-1")]).file("x", "").end(), "a number of its PAX header"),
        ("nothing", Tar::default().pax(b'x', &[("path", b"y")]).end(), "follows the end marker"),
    ] {
        let message = refused(name, &tar);
        assert!(message.contains(wanted), "{name}: {message}");
    }
    // The size of the PAX header counts, as for GNU tar and Go: no member hides in the data.
    let temp = Temp::new("hostile-size");
    let inner = Tar::default().file("hidden", "").0;
    let header = Header { path: b"x", size: 0, ..Header::default() };
    let size = inner.len().to_string();
    let tar = Tar::default().pax(b'x', &[("size", size.as_bytes())]).member(&header, &inner).end();
    let root = Layout::new(&temp).add("x", &[Blob::gzip(&tar)]).copied("x");
    assert!(!root.join("hidden").exists());
    assert_eq!(std::fs::read(root.join("x")).expect("read"), inner);
}

#[test]
fn bombs_end_early() {
    let large = vec![b'a'; 2 << 20];
    let header = |kind| Header { kind, path: b"x", size: 2 << 20, ..Header::default() };
    for (name, tar) in [
        ("long-name", Tar::default().member(&header(b'L'), &large)),
        ("long-target", Tar::default().member(&header(b'K'), &large)),
        ("pax", Tar::default().member(&header(b'x'), &large)),
        ("global", Tar::default().member(&header(b'g'), &large)),
    ] {
        let message = refused(name, &tar.file("x", "").end());
        assert!(message.contains("more than 1 MiB"), "{name}: {message}");
    }
    // Sizes that no file can have, and a million pieces of nothing.
    let sparse = |records: &[(&str, &[u8])]| Tar::default().pax(b'x', records).file("x", "").end();
    let map: Vec<u8> = (0..400_000_u64).map(|at| format!("{at},0,")).collect::<String>().into_bytes();
    for (name, tar) in [
        ("exbibytes", sparse(&[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"9223372036854775808")])),
        ("past", sparse(&[("GNU.sparse.map", b"18446744073709551615,2"), ("GNU.sparse.size", b"9")])),
        ("pieces", sparse(&[("GNU.sparse.map", &map[..map.len() - 1]), ("GNU.sparse.size", b"9")])),
        ("file", Tar::default().member(&Header { size: 0o77777777777, ..header(b'0') }, b"x").0),
    ] {
        assert!(!refused(&format!("huge-{name}"), &tar).is_empty(), "{name}");
    }
    // A hole takes neither time nor space.
    let temp = Temp::new("hostile-hole");
    let tar = sparse(&[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"1099511627776")]);
    let start = std::time::Instant::now();
    let layout = Layout::new(&temp).add("x", &[Blob::gzip(&tar)]);
    temp.made(&[&layout.reference("x"), "--layer-store", "store", "-o", "web"]);
    let file = std::fs::metadata(layer(&temp, &tar).join("x")).expect("stat");
    assert_eq!((file.len(), file.blocks()), (1 << 40, 0));
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn blobs_that_are_not_what_they_say_are_refused() {
    let tar = Tar::default().file("x", &"text".repeat(5000)).end();
    let zstd = zstd::encode_all(&tar[..], 3).expect("compress");
    let of = |bytes: Vec<u8>| Blob { bytes, ..Blob::gzip(&tar) };
    let flipped = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 0x10;
        bytes
    };
    let packed = gzip(&tar);
    let middle = packed.len() / 2;
    for (name, blob) in [
        ("gzip-cut", of(packed[..packed.len() - 20].to_vec())),
        ("gzip-corrupt", of(flipped(packed.clone(), middle))),
        ("gzip-trailer", of([&packed[..], b"trailing garbage"].concat())),
        ("zstd-cut", of(zstd[..zstd.len() - 5].to_vec())),
        ("zstd-corrupt", of(flipped(zstd.clone(), zstd.len() - 8))),
        ("tar-cut", Blob::plain(&tar[..1000])),
        ("tar-cut-header", Blob::plain(&tar[..700])),
        ("no-tar", Blob::plain(b"hello")),
        ("diff-id", Blob { diff_id: digest(b"other"), ..Blob::gzip(&tar) }),
    ] {
        let message = blob_refused(name, blob);
        assert!(message.contains("layer sha256:"), "{name}: {message}");
    }
}

#[test]
fn digests_and_sizes_are_checked() {
    let tar = Tar::default().file("x", "text").end();
    let mut other = tar.clone();
    other[512] = b'T';
    for (name, bytes, size, wanted) in [
        ("digest", &other[..], tar.len(), "its digest is"),
        ("larger", &[&tar[..], &[0; 512]].concat(), tar.len(), "its size is"),
        ("smaller", &tar[..tar.len() - 512], tar.len(), "it is corrupt, get it again"),
        ("said-smaller", &tar, tar.len() - 1, "its size is"),
    ] {
        let temp = Temp::new(&format!("hostile-{name}"));
        let layout = Layout::new(&temp);
        let ids = json!({ "type": "layers", "diff_ids": [digest(&tar)] });
        let config = json!({ "os": "linux", "architecture": "amd64", "config": { "Cmd": ["x"] }, "rootfs": ids });
        let config = layout.document("application/vnd.oci.image.config.v1+json", &config);
        let mut blob = layout.blob("application/vnd.oci.image.layer.v1.tar", &tar);
        blob["size"] = json!(size);
        std::fs::write(temp.path("img/blobs").join(digest(&tar).replace(':', "/")), bytes).expect("write");
        let manifest = layout.manifest(&config, &[blob]);
        let message = layout.tag("x", manifest).refused("x");
        assert!(message.contains(wanted), "{name}: {message}");
        check_store(&temp);
    }
}

/// A layout's blob is a FIFO, a directory, a device: neither waited for nor read.
#[test]
fn blobs_are_regular_files() {
    let temp = Temp::new("hostile-blob");
    let tar = Tar::default().file("x", "text").end();
    let layout = Layout::new(&temp).add("x", &[Blob::plain(&tar)]);
    let blob = temp.path("img/blobs").join(digest(&tar).replace(':', "/"));
    let make = |command: &[&str]| {
        let _ = std::fs::remove_file(&blob);
        let made = std::process::Command::new(command[0]).arg(command[1]).arg(&blob).args(&command[2..]).status();
        assert!(made.expect("run").success());
        assert!(layout.refused("x").contains("not a regular file"), "{command:?}");
    };
    make(&["mknod", "-m600", "p"]);
    make(&["mknod", "-m600", "c", "1", "5"]);
    make(&["mkdir", "-p"]);
    assert!(!Path::new("/x").exists());
}

/// A decoder and a writer of each layer, which has two filters: one of them is for clone3(2) alone.
#[test]
fn layers_are_unpacked_by_processes_with_filters() {
    let temp = Temp::new("hostile-filters");
    Layout::new(&temp).add("v", &[Blob::gzip(&Tar::default().file("a", "text").end())]);
    let arguments =
        ["-f", "-o", "trace", "-e", "trace=seccomp,capset,landlock_restrict_self", IMAGE, "bundle", "oci:img:v"];
    let mut command = std::process::Command::new("strace");
    command.args(arguments).args(["--layer-store", "store", "-o", "web"]).current_dir(&temp.0);
    let output = command.output().expect("run strace");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = std::fs::read_to_string(temp.path("trace")).expect("read");
    let lines = |what: &str| trace.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("SECCOMP_SET_MODE_FILTER"), 3, "{trace}");
    assert_eq!(lines("effective=0, permitted=0, inheritable=0"), 1, "{trace}");
    let needed =
        "CAP_CHOWN|1<<CAP_DAC_OVERRIDE|1<<CAP_FOWNER|1<<CAP_FSETID|1<<CAP_SYS_ADMIN|1<<CAP_MKNOD|1<<CAP_SETFCAP";
    assert_eq!(lines(&format!("effective=1<<{needed}, permitted=1<<{needed}, inheritable=0")), 1, "{trace}");
}
