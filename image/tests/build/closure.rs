//! Images of closures.

use crate::common::{Temp, closure, needs};
use crate::fixture::{FakeStore, blob_path, built, documents, firn_image, refused, success, tool, unpacked};
use crate::tree::{ALL, Aspects, describe};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The digests of an image's layers.
fn layers(temp: &Temp, layout: &str, tag: &str) -> Vec<Value> {
    let (manifest, _) = documents(&temp.path(layout), tag);
    manifest["layers"].as_array().expect("layers").iter().map(|layer| layer["digest"].clone()).collect()
}

#[test]
fn a_closure_becomes_an_image() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("build-closure");
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# an image\n"]);
    built(&temp, &["--closure", &system, "--entrypoint", "sh", "--output", "oci:image:latest"]);
    let facts: Value = serde_json::from_str(&tool(&temp, "skopeo", &["inspect", "oci:image:latest"])).expect("JSON");
    assert_eq!(facts["Created"], "1970-01-01T00:00:01Z");
    assert_eq!(facts["Layers"].as_array().expect("layers").len(), 2);

    let root = unpacked(&temp, "image:latest", "bundle");
    let names: Vec<_> = describe(&root, ALL).into_keys().filter(|path| path.components().count() < 3).collect();
    assert_eq!(names, ["", "nix", "nix/store"].map(Path::new));
    let listed = tool(&temp, "nix-store", &["--query", "--requisites", &system]);
    let inside: BTreeSet<_> =
        std::fs::read_dir(root.join("nix/store")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(inside.len(), listed.lines().count());
    for path in listed.lines() {
        // Nix's own form of a path, but for hard links of an optimised store.
        let aspects = Aspects { owners: true, times: true, links: false };
        let (source, copy) = (describe(Path::new(path), aspects), describe(&root.join(&path[1..]), aspects));
        assert_eq!(source, copy, "{path}");
    }
    for parent in ["nix", "nix/store"] {
        let line = &describe(&root.join(parent), ALL)[Path::new("")];
        assert!(line.starts_with("40755 owner=0:0 time=1.0"), "{line}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let temp = Temp::new("build-twice");
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base", "base", &[]);
    let library = store.add("b", "library", "library", &[&base]);
    let program = store.add("c", "program", "program", &[&library, &base]);
    temp.file("site/etc/motd", "hello\n", 0o644);
    let [at, list] = &store.options();
    for (target, jobs) in [("oci:one:x", "1"), ("oci:two:x", "4"), ("oci:three:x", "2")] {
        let more = ["--closure", &program, "--jobs", jobs, "--label", "b=1", "--label", "a=2", "--output", target];
        built(&temp, &[&[at, list, "--layer", "site"], &more[..]].concat());
    }
    let first = describe(&temp.path("one"), crate::tree::Aspects { owners: true, times: false, links: false });
    assert_eq!(first.len(), 1 + 2 + 2 + 6, "{first:?}");
    for other in ["two", "three"] {
        let other = describe(&temp.path(other), crate::tree::Aspects { owners: true, times: false, links: false });
        assert_eq!(first, other);
    }
    for file in ["one.tar", "two.tar"] {
        let target = format!("oci-archive:{file}:x");
        built(&temp, &[at, list, "--closure", &program, "--output", &target]);
    }
    assert_eq!(std::fs::read(temp.path("one.tar")).unwrap(), std::fs::read(temp.path("two.tar")).unwrap());
    tool(&temp, "skopeo", &["inspect", "oci-archive:one.tar:x"]);
}

#[test]
fn a_changed_path_changes_its_layer_alone() {
    let temp = Temp::new("build-changed");
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base", "base", &[]);
    let library = store.add("b", "library", "library", &[&base]);
    let old = store.add("c", "program-1", "old", &[&library]);
    let new = store.add("d", "program-2", "new", &[&library]);
    let [at, list] = &store.options();
    // A list may have more than one closure: each is asked for alone.
    let registration = std::fs::read_to_string(temp.path("registration")).unwrap();
    for (program, tag) in [(&old, "oci:image:old"), (&new, "oci:image:new")] {
        let other = if *program == old { &new } else { &old };
        let entry = format!("{other}\n\n1\n{library}\n");
        std::fs::write(temp.path("registration"), registration.replace(&entry, "")).unwrap();
        built(&temp, &[at, list, "--closure", program, "--output", tag]);
    }
    let (old, new) = (layers(&temp, "image", "old"), layers(&temp, "image", "new"));
    assert_eq!((old.len(), &old[..2]), (3, &new[..2]));
    assert_ne!(old[2], new[2]);
    let (_, config) = documents(&temp.path("image"), "new");
    let comments: Vec<_> = config["history"].as_array().unwrap().iter().map(|entry| entry["comment"].clone()).collect();
    assert_eq!(comments, [base, library, format!("/nix/store/{}-program-2", "d".repeat(32))].map(Value::from));
}

#[test]
fn few_layers_hold_many_paths() {
    let temp = Temp::new("build-layers");
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base", "base", &[]);
    let paths = ["b", "c", "d", "f"].map(|letter| store.add(letter, &format!("p{letter}"), letter, &[&base]));
    let top = store.add("g", "top", "top", &paths.each_ref().map(String::as_str));
    let [at, list] = &store.options();
    let common = [at, list, "--closure", &top, "--json"];
    let layers = |more: &[&str]| -> Vec<String> {
        let facts: Value = serde_json::from_str(&built(&temp, &[&common[..], more].concat())).expect("JSON");
        let names = |layer: &Value| {
            let paths = layer["storePaths"].as_array().expect("paths").iter();
            paths.map(|path| path.as_str().expect("text")[44..].to_owned()).collect::<Vec<_>>().join("+")
        };
        facts["layers"].as_array().expect("layers").iter().map(names).collect()
    };
    assert_eq!(layers(&["--output", "oci:image:all"]), ["base", "pb", "pc", "pd", "pf", "top"]);
    assert_eq!(layers(&["--output", "oci:image:three", "--max-layers", "3"]), ["base", "pb", "pc+pd+pf+top"]);
    let group = format!("{},{}", paths[3], paths[1]);
    let grouped = layers(&["--output", "oci:image:group", "--max-layers", "3", "--layer-group", &group]);
    assert_eq!(grouped, ["base", "pc+pf", "pb+pd+top"]);
    let whole = unpacked(&temp, "image:all", "whole");
    let whole = describe(&whole, ALL);
    assert_eq!(whole, describe(&unpacked(&temp, "image:three", "three"), ALL));
    assert_eq!(whole, describe(&unpacked(&temp, "image:group", "group"), ALL));

    let too_few = [&common[..], &["--output", "oci:image:x", "--max-layers", "1", "--layer-group", &group]].concat();
    assert!(refused(&temp, &too_few).contains("--max-layers 1: 2 layers are needed"));
    let foreign = [&common[..], &["--output", "oci:image:x", "--layer-group", "/nix/store/x"]].concat();
    assert!(refused(&temp, &foreign).contains("is no store path"));
}

#[test]
fn compression_is_chosen() {
    let temp = Temp::new("build-compression");
    let mut store = FakeStore::new(&temp);
    let path = store.add("a", "base", "base", &[]);
    let [at, list] = &store.options();
    let mut diff_ids = Vec::new();
    for (name, media_type, magic) in [
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..]),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("none", "application/vnd.oci.image.layer.v1.tar", b"nix/\0"),
    ] {
        let target = format!("oci:image:{name}");
        built(&temp, &[at, list, "--closure", &path, "--compression", name, "--output", &target]);
        let (manifest, config) = documents(&temp.path("image"), name);
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], media_type);
        let bytes = std::fs::read(blob_path(&temp.path("image"), layer)).unwrap();
        assert_eq!(layer["size"], json!(bytes.len()));
        assert!(bytes.starts_with(magic), "{name}: {:?}", &bytes[..16]);
        diff_ids.push(config["rootfs"].clone());
        let copy = format!("dir:copy-{name}");
        tool(&temp, "skopeo", &["copy", "--insecure-policy", &target, &copy]);
    }
    assert!(diff_ids.windows(2).all(|pair| pair[0] == pair[1]), "{diff_ids:?}");
    assert!(
        refused(&temp, &["--closure", &path, "--compression", "xz", "--output", "oci:x:y"])
            .contains("gzip, zstd or none")
    );
}

#[test]
fn a_list_that_is_cut_off_is_refused() {
    let temp = Temp::new("build-cut");
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base", "base", &[]);
    let program = store.add("c", "program", "program", &[&base]);
    let [at, list] = &store.options();
    std::fs::write(temp.path("registration"), format!("{program}\n\n1\n{base}\n")).unwrap();
    let args = [at, list, "--closure", &program, "--output", "oci:image:x"];
    let message = refused(&temp, &args);
    assert!(message.contains(&format!("refers to {base}, which is not listed")), "{message}");
    assert!(!temp.path("image").exists());
    // A plain list has no references: every path is taken, in the order of names.
    std::fs::write(temp.path("registration"), format!("{program}\n{base}\n")).unwrap();
    built(&temp, &args);
    assert_eq!(layers(&temp, "image", "x").len(), 2);
}

#[test]
fn a_closure_is_not_collected_while_its_image_is_built() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("build-rooted");
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# held\n"]);
    // Says who holds the path, once it is held; then it is Nix's.
    let real = tool(&temp, "which", &["nix-store"]);
    let script = format!(
        "#!/bin/sh\nreal={real}\n$real \"$@\" || exit\n\
         case $1 in --realise) $real --query --roots {system} >>{}/roots; esac\n",
        temp.0.display()
    );
    temp.file("bin/nix-store", &script, 0o755);
    let mut command = firn_image(&temp, &["build", "--closure", &system, "--output", "oci:image:x"]);
    let path = std::env::var("PATH").expect("PATH");
    success(command.env("PATH", format!("{}:{path}", temp.path("bin").display())));
    let roots = std::fs::read_to_string(temp.path("roots")).expect("a root was made");
    let link = temp.path("image/.blobs.firn-image-");
    assert!(roots.lines().any(|line| line.starts_with(&link.display().to_string())), "{roots}");
    let left = tool(&temp, "nix-store", &["--query", "--roots", &system]);
    assert!(!left.contains("firn-image-"), "{left}");
}

#[test]
fn nix_in_the_image_knows_its_store_paths() {
    needs("sqlite3", "sqlite3");
    let temp = Temp::new("build-registration");
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# registered\n"]);
    let words = ["--closure", &system, "--registration", "--output"];
    let first = built(&temp, &[&words[..], &["oci:image:latest"]].concat());
    // Also one that is made at another time, which the database counts in seconds.
    let second = || std::time::UNIX_EPOCH.elapsed().expect("a time").as_secs();
    let before = second();
    while second() == before {
        std::thread::yield_now();
    }
    assert_eq!(built(&temp, &[&words[..], &["oci:again:latest"]].concat()), first);

    let root = unpacked(&temp, "image:latest", "bundle");
    let inside = root.to_str().expect("utf-8");
    let query = |root: &str| tool(&temp, "nix-store", &["--store", root, "--query", "--requisites", &system]);
    assert_eq!(query(inside), query("/"));
    assert_eq!(tool(&temp, "nix-store", &["--store", inside, "--verify", "--check-contents"]), "");
    // What the image is for stays when it collects garbage, and what was built in it goes.
    let collected = tool(&temp, "nix-store", &["--store", inside, "--gc", "--print-dead"]);
    assert_eq!(collected, "");
    let list = temp.path("list");
    std::fs::write(&list, query("/")).expect("write");
    let list = format!("--store-paths={}", list.display());
    let refused = refused(&temp, &["--closure", &system, &list, "--registration", "--output", "oci:no:x"]);
    assert!(refused.contains("cannot be used with"), "{refused}");
}
