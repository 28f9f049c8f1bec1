//! Layers in each form of tar that programs write today.

use crate::common::{Temp, needs};
use crate::layout::{Blob, Layout, layer};
use crate::tar::{Header, Tar};
use crate::tree::tree;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

pub fn run(temp: &Temp, command: &[&str]) {
    let status = Command::new(command[0]).args(&command[1..]).current_dir(&temp.0).status();
    assert!(status.expect("run").success(), "{command:?}");
}

pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name, value, flags).expect("set attribute (needs root)");
}

/// cap_net_raw=ep, as setcap writes it.
pub const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// An ACL with an entry for user 7.
pub const ACL: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
                         \x10\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";

/// A tree of everything that a layer can hold, below `name`.
pub fn make_tree(temp: &Temp, name: &str) {
    let top = temp.path(name);
    temp.file(&format!("{name}/etc/plain"), "text", 0o640);
    temp.file(&format!("{name}/bin/su"), "#!/bin/sh\n", 0o4755);
    temp.file(&format!("{name}/bin/ping"), "#!/bin/sh\n", 0o6711);
    temp.file(&format!("{name}/empty"), "", 0o000);
    let deep = format!("{name}/{}/{}/end", "long".repeat(40), "name".repeat(40));
    temp.file(&deep, "deep", 0o644);
    let bytes = OsStr::from_bytes(b"not-\xff\xfe-utf8");
    std::fs::write(top.join(bytes), "bytes").expect("write");
    symlink(bytes, top.join("link-to-bytes")).expect("link");
    symlink("/".to_owned() + &"target/".repeat(40), top.join("far")).expect("link");
    symlink("plain", top.join("etc/link")).expect("link");
    std::fs::hard_link(top.join("bin/su"), top.join("bin/su2")).expect("link");
    std::fs::hard_link(top.join("etc/link"), top.join("etc/link2")).expect("link");
    let sparse = std::fs::File::create(top.join("sparse")).expect("create");
    for at in [1 << 20, 3 << 20, 5 << 20, 7 << 20, 9 << 20, 11 << 20] {
        sparse.write_all_at(b"data", at).expect("write");
    }
    sparse.set_len(16 << 20).expect("truncate");
    std::fs::File::create(top.join("hole")).and_then(|file| file.set_len(1 << 20)).expect("truncate");
    let path = |inside: &str| format!("{name}/{inside}");
    run(temp, &["mkfifo", "-m", "620", &path("pipe")]);
    run(temp, &["mknod", "-m", "666", &path("null"), "c", "1", "3"]);
    run(temp, &["mknod", "-m", "660", &path("disk"), "b", "259", "70000"]);
    run(temp, &["mkdir", "-m", "1777", &path("tmp")]);
    run(temp, &["mkdir", "-m", "2750", &path("group")]);
    temp.file(&path("group/inside"), "", 0o644);
    temp.file(&path("acl/inside"), "", 0o644);
    run(temp, &["chown", "5:6", &path("etc"), &path("group")]);
    run(temp, &["chown", "-h", "4000000:4000001", &path("far"), &path("pipe"), &path("bin/ping")]);
    run(temp, &["chmod", "6711", &path("bin/ping")]);
    set_attribute(&top.join("bin/ping"), "security.capability", CAPABILITY);
    set_attribute(&top.join("etc/plain"), "user.note", b"a\0b\n=c");
    set_attribute(&top.join("etc/plain"), "system.posix_acl_access", ACL);
    set_attribute(&top.join("acl"), "system.posix_acl_default", ACL);
    set_attribute(&top.join("acl"), "user.note", b"of a directory");
    for (file, time) in [("etc/plain", "@1.5"), ("etc/link", "@-1000.25"), ("pipe", "@4000000000.000000001")] {
        run(temp, &["touch", "-h", "-d", time, &path(file)]);
    }
    run(temp, &["touch", "-d", "@7.000000007", &path("tmp"), &path("acl"), &path("group"), &path("etc"), name]);
}

/// Archives of GNU tar, in each of its formats and forms of sparse files.
#[test]
fn archives_of_gnu_tar_are_extracted_as_they_were() {
    needs("tar", "tar");
    let temp = Temp::new("dialects");
    make_tree(&temp, "root");
    let mut layout = Layout::new(&temp);
    for (number, options) in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ]
    .into_iter()
    .enumerate()
    {
        let pax = options[0] == "--format=pax";
        let attributes: &[&str] = if pax { &["--xattrs", "--xattrs-include=*"] } else { &[] };
        let archive = format!("{number}.tar");
        let create = [&["tar", "-C", "root", "-cf", &archive], options, attributes, &["."]].concat();
        run(&temp, &create);
        let tar = std::fs::read(temp.path(&archive)).expect("read");
        let tag = number.to_string();
        layout = layout.add(&tag, &[Blob::gzip(&tar)]);
        temp.made(&[&layout.reference(&tag), "--layer-store", "store", "-o", &format!("web{number}")]);
        let place = layer(&temp, &tar);
        let (mut made, mut source) = (tree(&place), tree(&temp.path("root")));
        if !pax {
            // Whole seconds, no attributes: what the format has.
            for facts in made.values_mut().chain(source.values_mut()) {
                facts.6 = 0;
                facts.8.clear();
            }
        }
        for (name, facts) in &source {
            assert_eq!(made.get(name), Some(facts), "{options:?}: {}", name.display());
        }
        assert_eq!(made.keys().collect::<Vec<_>>(), source.keys().collect::<Vec<_>>());
        let stat = |name: &str| std::fs::symlink_metadata(place.join(name)).expect("stat");
        assert_eq!(stat("bin/su").ino(), stat("bin/su2").ino());
        assert_eq!(stat("etc/link").ino(), stat("etc/link2").ino());
        assert!(stat("sparse").blocks() < 200 && stat("hole").blocks() == 0, "{options:?}");
        assert_eq!((stat("").mode() & 0o7777, stat("").mtime()), (0o755, 7));
    }
}

/// Trees of random names, kinds, modes, times and sizes, in all formats: as GNU tar extracts them.
#[test]
fn random_archives_of_gnu_tar_are_extracted_as_by_gnu_tar() {
    let temp = Temp::new("dialects-random");
    let mut layout = Layout::new(&temp);
    for (round, format) in ["v7", "oldgnu", "gnu", "ustar", "pax"].into_iter().cycle().take(15).enumerate() {
        let mut state = round as u64 + 1;
        let mut random = move |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        let top = temp.path(&format!("random-{round}"));
        std::fs::create_dir(&top).expect("make directory");
        let mut directories = vec![top.clone()];
        let mut files = Vec::new();
        for number in 0..60 {
            let parent = &directories[random(directories.len() as u64) as usize];
            // Long ones, of which v7 and ustar leave some out.
            let name =
                format!("{number}-{}", "n\u{e4}me ".repeat(random(if number % 7 == 0 { 30 } else { 4 }) as usize));
            let path = parent.join(name);
            // A link to what is left out can't be extracted.
            let is_short = path.as_os_str().len() - top.as_os_str().len() < 90;
            match random(8) {
                0 | 1 => {
                    std::fs::create_dir(&path).expect("make directory");
                    directories.push(path.clone());
                }
                2 => symlink("t/".repeat(1 + random(70) as usize), &path).expect("link"),
                3 if !files.is_empty() && is_short => {
                    let target: &std::path::PathBuf = &files[random(files.len() as u64) as usize];
                    std::fs::hard_link(target, &path).expect("link");
                }
                4 if format != "v7" => run(&temp, &["mkfifo", path.to_str().expect("utf-8")]),
                _ => {
                    let file = std::fs::File::create(&path).expect("create");
                    file.write_all_at(&vec![number as u8; random(3000) as usize], 0).expect("write");
                    if random(4) == 0 {
                        file.write_all_at(b"end", (1 << 20) + random(1 << 20)).expect("write");
                    }
                    if is_short {
                        files.push(path.clone());
                    }
                }
            }
            let meta = std::fs::symlink_metadata(&path).expect("stat");
            std::os::unix::fs::lchown(&path, Some(random(2_000_000) as u32), Some(random(1000) as u32)).expect("chown");
            if !meta.is_symlink() {
                let mode = random(0o10000) as u32;
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
            }
            let time = format!("@{}.{:09}", random(1_700_000_000), random(1_000_000_000));
            run(&temp, &["touch", "-h", "-d", &time, path.to_str().expect("utf-8")]);
        }
        let (archive, out) = (format!("{round}.tar"), temp.path(&format!("out-{round}")));
        let sparse: &[&str] = if matches!(format, "v7" | "ustar") { &[] } else { &["--sparse"] };
        let create =
            [&["-C", top.to_str().expect("utf-8"), "-cf", &archive, &format!("--format={format}")], sparse, &["."]];
        // Fails where it leaves something out.
        let _ = Command::new("tar").args(create.concat()).current_dir(&temp.0).output().expect("run tar");
        std::fs::create_dir(&out).expect("make directory");
        run(&temp, &["tar", "-C", out.to_str().expect("utf-8"), "-xpf", &archive, "--numeric-owner"]);
        let tar = std::fs::read(temp.path(&archive)).expect("read");
        let tag = round.to_string();
        layout = layout.add(&tag, &[Blob::gzip(&tar)]);
        temp.made(&[&layout.reference(&tag), "--layer-store", "store", "-o", &format!("web{round}")]);
        let (made, wanted) = (tree(&layer(&temp, &tar)), tree(&out));
        assert!(wanted.len() > 10, "{format}: {} files", wanted.len());
        for (name, facts) in &wanted {
            assert_eq!(made.get(name), Some(facts), "{format}: {}", name.display());
        }
        assert_eq!(made.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{format}");
    }
}

/// Headers that GNU tar no longer writes.
#[test]
fn older_headers_are_read() {
    let temp = Temp::new("dialects-old");
    let old = |kind, path, size| Header { kind, path, size, magic: b"", ..Header::default() };
    let prefix = b"some/directory/above";
    let ustar = Header { path: b"below", rest: prefix, ..Header::default() };
    // The times of GNU are where ustar has its prefix.
    let gnu = Header { path: b"gnu", magic: b"ustar  \0", rest: b"14735713650\x0014735713650\0", ..Header::default() };
    let tar = Tar::default()
        .member(&old(0, b"v7", 2), b"v7")
        .member(&old(0, b"v7-directory/", 0), b"")
        .member(&ustar, b"")
        .member(&gnu, b"")
        .member(&old(b'7', b"contiguous", 1), b"x")
        .pax(b'g', &[("comment", b"of git archive")])
        .pax(b'x', &[("path", b"pax/name"), ("path", b"pax/last"), ("mtime", b"")])
        .file("short", "x")
        .long(b'K', b"a-target")
        .symlink("link", "a-targ")
        .end();
    let root = Layout::new(&temp).add("x", &[Blob::plain(&tar)]).copied("x");
    for file in ["v7", "some/directory/above/below", "gnu", "contiguous", "pax/last"] {
        assert!(root.join(file).is_file(), "{file}");
    }
    assert!(root.join("v7-directory").is_dir());
    assert_eq!(std::fs::read_link(root.join("link")).expect("readlink"), Path::new("a-target"));
    assert_eq!(std::fs::metadata(root.join("pax/last")).expect("stat").mtime(), 1_000_000_000);
}

/// By its first bytes, whatever the media type says.
#[test]
fn compression_is_known_by_its_bytes() {
    let temp = Temp::new("dialects-compression");
    let tar = |name: &str| Tar::default().file(name, "text").end();
    let (a, b, c, d) = (tar("gzip"), tar("zstd"), tar("members"), tar("plain"));
    let (media_type, at) = ("application/vnd.docker.image.rootfs.diff.tar.gzip", 300);
    let parts = |compress: &dyn Fn(&[u8]) -> Vec<u8>, tar: &[u8]| [compress(&tar[..at]), compress(&tar[at..])].concat();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("compress");
    let skippable = [b"\x50\x2a\x4d\x18\x03\0\0\0abc", &parts(&zstd, &b)[..]].concat();
    let layers = [
        Blob { media_type, ..Blob::gzip(&a) },
        Blob { media_type, bytes: skippable, ..Blob::plain(&b) },
        Blob { bytes: parts(&crate::layout::gzip, &c), ..Blob::plain(&c) },
        Blob { media_type, ..Blob::plain(&d) },
    ];
    let root = Layout::new(&temp).add("x", &layers).copied("x");
    for file in ["gzip", "zstd", "members", "plain"] {
        assert!(root.join(file).is_file(), "{file}");
    }
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let temp = Temp::new("dialects-whiteouts");
    let directory = |tar: Tar, name: &str| tar.directory(name).file(&format!("{name}/below"), "");
    let low = ["opaque", "removed", "again", "implied", "late", "over", "kept"];
    let low = low.into_iter().fold(Tar::default(), directory).file("file", "low").file("twice", "low").end();
    let high = Tar::default()
        .directory("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/above", "")
        .file(".wh.removed", "")
        .file(".wh.again", "")
        .directory("again")
        .file("again/above", "")
        // No entry of its own for the directory.
        .file(".wh.implied", "")
        .file("implied/above", "")
        // A whiteout after what the layer has itself hides only what is below.
        .directory("late")
        .file("late/above", "")
        .file(".wh.late", "")
        .file(".wh.over", "")
        .file("over", "now a file")
        .file(".wh.file", "")
        .file(".wh.twice", "")
        .file(".wh.twice", "")
        .file(".wh.absent", "")
        .file("kept/.wh.absent", "")
        .file("kept/.wh..wh.plnk", "")
        .file("file2", "")
        .file(".wh.file2", "")
        .end();
    let root = Layout::new(&temp).add("x", &[Blob::gzip(&low), Blob::gzip(&high)]).copied("x");
    let names: Vec<_> = tree(&root).into_keys().map(|name| name.to_string_lossy().into_owned()).collect();
    let wanted = [
        "again",
        "again/above",
        "file2",
        "implied",
        "implied/above",
        "kept",
        "kept/below",
        "late",
        "late/above",
        "opaque",
        "opaque/above",
        "over",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn the_later_of_two_entries_counts() {
    let temp = Temp::new("dialects-twice");
    let tar = Tar::default()
        .file("a", "first, and longer")
        .file("a", "second")
        .symlink("b", "a")
        .file("b", "file")
        .file("c", "")
        .directory("c")
        .file("c/inside", "")
        .directory("d")
        .file("d/inside", "")
        .member(&Header { kind: b'5', path: b"d", mode: 0o700, ..Header::default() }, b"")
        .end();
    let root = Layout::new(&temp).add("x", &[Blob::gzip(&tar)]).copied("x");
    assert_eq!(std::fs::read_to_string(root.join("a")).expect("read"), "second");
    assert_eq!(std::fs::read_to_string(root.join("b")).expect("read"), "file");
    assert!(root.join("c/inside").exists() && root.join("d/inside").exists());
    assert_eq!(std::fs::metadata(root.join("d")).expect("stat").mode() & 0o7777, 0o700);
}

/// A layer has `tmp/.wh.x` or `tmp/y`, but no entry for `tmp`: it stays as the layer below has it.
#[test]
fn directories_without_an_entry_stay_as_they_are() {
    let temp = Temp::new("dialects-parents");
    let directory = |path, mode| Header { kind: b'5', path, mode, ..Header::default() };
    let owned = |tar: Tar, header: &Header<'_>| {
        tar.pax(b'x', &[("uid", b"7"), ("gid", b"8"), ("SCHILY.xattr.user.note", b"x")]).member(header, b"")
    };
    let low = owned(Tar::default(), &directory(b".", 0o711));
    let low = owned(low, &directory(b"tmp", 0o1777)).file("tmp/x", "").directory("a");
    let low = owned(low, &directory(b"a/b", 0o700)).file("link-file", "");
    let low = owned(low, &directory(b"gone", 0o700)).member(&directory(b"shown", 0o750), b"").end();
    let middle = Tar::default().file("tmp/.wh.x", "").file("a/b/y", "").file(".wh.gone", "").file("new/z", "").end();
    let high = Tar::default().file("a/b/c/d", "").file("gone/fresh", "").member(&directory(b"shown", 0o705), b"");
    let high = high.file("tmp/w", "").end();
    let layout = Layout::new(&temp);
    let layers = [Blob::gzip(&low), Blob::gzip(&middle), Blob::gzip(&high)];
    let layout = layout.add("x", &layers).add("low", &layers[..1]);
    let root = layout.copied("x");
    let facts = |name: &str| {
        let meta = std::fs::metadata(root.join(name)).expect("stat");
        let note = rustix::fs::getxattr(root.join(name), "user.note", &mut [0; 4]).is_ok();
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime(), note)
    };
    assert_eq!(facts("tmp"), (0o1777, 7, 8, 1_000_000_000, true));
    assert_eq!(facts("a/b"), (0o700, 7, 8, 1_000_000_000, true));
    assert_eq!(facts("a"), (0o755, 0, 0, 1_000_000_000, false));
    for fresh in ["gone", "new", "a/b/c"] {
        assert_eq!(facts(fresh), (0o755, 0, 0, 0, false), "{fresh}");
    }
    assert_eq!(facts("shown"), (0o705, 0, 0, 1_000_000_000, false));
    assert!(!root.join("tmp/x").exists() && root.join("tmp/w").exists() && root.join("a/b/y").exists());
    // The directories are a layer of their own, on top; one of one layer needs none.
    for (tag, count) in [("x", 4), ("low", 1)] {
        temp.made(&[&layout.reference(tag), "--layer-store", "store", "-o", tag]);
        let layers = temp.json(&format!("{tag}/firn.json"))["root"]["layers"].clone();
        assert_eq!(layers.as_array().expect("layers").len(), count, "{layers}");
    }
    let top = std::fs::metadata(temp.json("x/firn.json")["root"]["layers"][3].as_str().expect("a path")).expect("stat");
    assert_eq!((top.mode() & 0o7777, top.uid()), (0o711, 7));
}
