//! Layers that a layout has from an earlier build.

use crate::common::Temp;
use crate::fixture::{FakeStore, blob_path, built, documents, firn_image, success};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// Builds an image; for each layer its digest, and whether it was packed.
fn layers(temp: &Temp, args: &[&str]) -> Vec<(String, bool)> {
    let facts: Value = serde_json::from_str(&built(temp, &[args, &["--json"]].concat())).expect("JSON");
    let layer = |layer: &Value| {
        (layer["digest"].as_str().expect("text").to_owned(), !layer["reused"].as_bool().expect("a truth value"))
    };
    facts["layers"].as_array().expect("layers").iter().map(layer).collect()
}

fn packed(layers: &[(String, bool)]) -> Vec<bool> {
    layers.iter().map(|(_, packed)| *packed).collect()
}

#[test]
fn after_a_change_one_layer_is_written() {
    let temp = Temp::new("build-one-layer");
    let mut store = FakeStore::new(&temp);
    let mut paths = vec![store.add("a", "base", "base", &[])];
    for letter in ["b", "c", "d", "f"] {
        let below = paths.last().expect("a path").clone();
        paths.push(store.add(letter, &format!("p{letter}"), letter, &[&below]));
    }
    let [at, list] = &store.options();
    let target = ["--max-layers", "5", "--output", "oci:image:x"];
    let old = layers(&temp, &[&[at, list, "--closure", &paths[4]], &target[..]].concat());
    assert_eq!(packed(&old), [true; 5]);
    let inode = |digest: &str| temp.path("image/blobs").join(digest.replace(':', "/")).metadata().unwrap().ino();
    let inodes: Vec<_> = old.iter().map(|(digest, _)| inode(digest)).collect();
    assert_eq!(packed(&layers(&temp, &[&[at, list, "--closure", &paths[4]], &target[..]].concat())), [false; 5]);

    let mut store = FakeStore::new(&temp);
    let mut below = store.add("a", "base", "base", &[]);
    for (letter, path) in ["b", "c", "d", "g"].iter().zip(&paths[1..]) {
        let name = if *letter == "g" { "pf".to_owned() } else { path[44..].to_owned() };
        below = store.add(letter, &name, letter, &[&below]);
    }
    let [at, list] = &store.options();
    let new = layers(&temp, &[&[at, list, "--closure", &below], &target[..]].concat());
    assert_eq!(packed(&new), [false, false, false, false, true]);
    assert_eq!(
        old[..4].iter().map(|(digest, _)| digest).collect::<Vec<_>>(),
        new[..4].iter().map(|(digest, _)| digest).collect::<Vec<_>>()
    );
    assert_ne!(old[4].0, new[4].0);
    assert_eq!(inodes, old.iter().map(|(digest, _)| inode(digest)).collect::<Vec<_>>(), "blobs are kept");
}

#[test]
fn a_layer_counts_only_as_it_was_recorded() {
    let temp = Temp::new("build-recorded");
    let mut store = FakeStore::new(&temp);
    let path = store.add("a", "base", "base", &[]);
    let [at, list] = &store.options();
    let args = [&at[..], list, "--closure", &path, "--output", "oci:image:x"];
    let first = layers(&temp, &args);
    assert_eq!(packed(&layers(&temp, &args)), [false]);
    let manifest = documents(&temp.path("image"), "x").0;
    let blob = blob_path(&temp.path("image"), &manifest["layers"][0]);
    let good = std::fs::read(&blob).expect("read");

    // The blob has other bytes.
    let mut bad = good.clone();
    *bad.last_mut().expect("a byte") ^= 1;
    std::fs::write(&blob, bad).expect("write");
    assert_eq!(layers(&temp, &args), first);
    assert_eq!(std::fs::read(&blob).expect("read"), good);

    // The record has other bytes: another digest, which is one of the layout.
    let records: Vec<PathBuf> = walk(&temp.path("cache"));
    assert_eq!(records.len(), 1, "{records:?}");
    let record = std::fs::read_to_string(&records[0]).expect("read");
    let other = manifest["config"]["digest"].as_str().expect("text");
    std::fs::write(&records[0], record.replace(&first[0].0, other)).expect("write");
    assert_eq!(layers(&temp, &args), first);

    // Another compression, another store, another path at the same place.
    assert_eq!(packed(&layers(&temp, &[&args[..], &["--compression", "none"]].concat())), [true]);
    let place = temp.path(&format!("root{path}"));
    std::fs::rename(&place, temp.path("moved")).expect("rename");
    std::fs::create_dir_all(place.join("bin")).expect("make directory");
    assert_eq!(packed(&layers(&temp, &args)), [true]);
    assert_eq!(packed(&layers(&temp, &[&args[..], &["--no-cache"]].concat())), [true]);

    // A cache that others can write.
    let directory = records[0].parent().expect("a parent");
    assert_eq!(packed(&layers(&temp, &args)), [false]);
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).expect("chmod");
    assert_eq!(packed(&layers(&temp, &args)), [true]);

    // None can be made: in a sandbox of Nix HOME does not exist.
    let mut command = firn_image(&temp, &[&["build"], &args[..]].concat());
    success(command.env("XDG_CACHE_HOME", "/proc/none"));
}

fn walk(directory: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("list").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
