//! `firn-image diff`, and `inspect` of images.

use crate::common::{Temp, text};
use crate::fixture::{FakeStore, built, documents, firn_image, success, tool};
use serde_json::{Value, json};

#[test]
fn closures_are_compared_by_package() {
    let temp = Temp::new("diff");
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base-1", "base", &[]);
    let old = store.add("b", "app-1.0", "old", &[&base]);
    let new = store.add("c", "app-1.1", "longer", &[&base]);
    let fresh = store.add("d", "fresh", "fresh", &[]);
    let [at, _] = &store.options();
    temp.file("old", &format!("{base}\n{old}\n"), 0o644);
    temp.file("new", &format!("{base}\n{new}\n{fresh}\n"), 0o644);
    let args = ["diff", at, &old, &new, "--old-store-paths", "old", "--new-store-paths", "new"];
    assert_eq!(
        success(&mut firn_image(&temp, &args)),
        "app    version  1.0 -> 1.1   +3 B\nfresh  added                +21 B\n\
         2 paths, 39 B -> 3 paths, 63 B (+24 B)\n"
    );
    let printed = success(&mut firn_image(&temp, &[&args[..], &["--json"]].concat()));
    let facts: Value = serde_json::from_str(&printed).expect("parse JSON");
    assert_eq!(facts["new"], json!({ "paths": 3, "files": 0, "size": 63 }));
    assert_eq!(
        facts["changes"][0],
        json!({
            "name": "app", "change": "version",
            "old": { "versions": ["1.0"], "paths": [old], "size": 19 },
            "new": { "versions": ["1.1"], "paths": [new], "size": 22 },
        })
    );
    let same = ["diff", at, &old, &old, "--old-store-paths", "old", "--new-store-paths", "old"];
    assert_eq!(success(&mut firn_image(&temp, &same)), "2 paths, 39 B -> 2 paths, 39 B (+0 B)\n");
}

/// Two images of one layout: `old` of two layers, `new` with a third that changes and hides.
fn images(temp: &Temp) -> [String; 2] {
    let mut store = FakeStore::new(temp);
    let old = store.add("b", "app-1.0", "old", &[]);
    let new = store.add("c", "app-1.1", "longer", &[]);
    let [at, list] = &store.options();
    for (name, text) in [("motd", "hello\n"), ("kept", "kept\n"), ("dir/one", "1\n"), ("dir/two", "2\n")] {
        temp.file(&format!("low/etc/{name}"), text, 0o644);
    }
    temp.file("high/etc/motd", "hallo\n", 0o644);
    temp.file("high/etc/fresh\u{1b}[31m", "fresh\n", 0o644);
    std::fs::create_dir_all(temp.path("high/etc/dir")).expect("make directory");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(temp.path("high/etc/dir"), "trusted.overlay.opaque", b"y", flags).expect("set attribute");
    temp.file("high/etc/dir/one", "1\n", 0o644);
    std::fs::write(temp.path("registration"), format!("{old}\n")).expect("write");
    built(temp, &[at, list, "--layer", "low", "--closure", &old, "--cmd", "app", "--output", "oci:image:old"]);
    std::fs::write(temp.path("registration"), format!("{new}\n")).expect("write");
    let layers = ["--layer", "low", "--layer", "high", "--closure", &new];
    let more = ["--compression", "zstd", "--env", "A=\u{9b}31m\nforged", "--label", "a=b", "--output", "oci:image:new"];
    built(temp, &[&[&at[..], list], &layers[..], &more[..]].concat());
    [old, new]
}

#[test]
fn images_are_compared_by_package_and_file() {
    let temp = Temp::new("diff-images");
    images(&temp);
    let old = ["diff", "oci:image:old", "oci:image:new"];
    let said = success(&mut firn_image(&temp, &old));
    assert_eq!(
        said,
        "app                   version  1.0 -> 1.1  +3 B\n\
         /etc/dir/two          removed              -2 B\n\
         /etc/fresh\\u001b[31m  added                +6 B\n\
         /etc/motd             changed              +0 B\n\
         1 paths, 4 files, 34 B -> 1 paths, 4 files, 41 B (+7 B)\n"
    );
    let printed = success(&mut firn_image(&temp, &[&old[..], &["--json"]].concat()));
    let facts: Value = serde_json::from_str(&printed).expect("parse JSON");
    let changes: Vec<_> = facts["files"].as_array().expect("files").iter().map(|file| file["change"].clone()).collect();
    assert_eq!(changes, ["removed", "added", "changed"]);
    // As an archive and by another program it is the same image.
    tool(&temp, "skopeo", &["copy", "--insecure-policy", "oci:image:old", "oci-archive:old.tar:x"]);
    let said = success(&mut firn_image(&temp, &["diff", "oci:image:old", "oci-archive:old.tar:x"]));
    assert_eq!(said.lines().count(), 1, "{said}");
    let (manifest, _) = documents(&temp.path("image"), "new");
    std::fs::write(crate::fixture::blob_path(&temp.path("image"), &manifest["layers"][0]), "corrupt").expect("write");
    let output = firn_image(&temp, &old).output().expect("run");
    assert!(text(&output.stderr).contains("image oci:image:new: read layer"), "{}", text(&output.stderr));
}

#[test]
fn the_layers_of_an_image_are_shown() {
    let temp = Temp::new("inspect-image");
    let [_, new] = images(&temp);
    let said = success(&mut firn_image(&temp, &["inspect", "oci:image:new"]));
    let layers: Vec<_> = said.lines().filter(|line| line.contains("sha256:")).collect();
    assert_eq!(layers.len(), 3, "{said}");
    assert!(layers[0].starts_with("layers      sha256:") && layers[2].ends_with(&new), "{said}");
    assert!(said.starts_with("image       oci:image:new\ncreated     1970-01-01T00:00:01"), "{said}");
    assert!(said.contains("\nlabels      a=b\n"), "{said}");
    let printed = success(&mut firn_image(&temp, &["inspect", "--json", "oci:image:new"]));
    for text in [&said, &printed] {
        assert_eq!(text.chars().find(|c| c.is_control() && *c != '\n'), None, "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
    }
    let facts: Value = serde_json::from_str(&printed).expect("parse JSON");
    let (manifest, config) = documents(&temp.path("image"), "new");
    assert_eq!(facts["config"]["config"], config["config"]);
    let sizes =
        |layers: &Value| layers.as_array().unwrap().iter().map(|layer| layer["size"].clone()).collect::<Vec<_>>();
    assert_eq!(sizes(&facts["layers"]), sizes(&manifest["layers"]));
    for (what, reason) in
        [("oci:image:none", "no image \"none\""), ("containers-storage:x", "podman save"), ("oci:absent", "absent")]
    {
        let output = firn_image(&temp, &["inspect", what]).output().expect("run");
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}
