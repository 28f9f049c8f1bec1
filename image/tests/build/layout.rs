//! Layouts that exist, and writers that are killed.

use crate::common::{Temp, text};
use crate::fixture::{blob_path, built, documents, firn_image, json, refused, tool};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("list");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The tags in the layout, sorted.
fn tags(temp: &Temp) -> Vec<String> {
    let listed = tool(temp, "umoci", &["list", "--layout", "image"]);
    let mut tags: Vec<_> = listed.lines().map(ToOwned::to_owned).collect();
    tags.sort();
    tags
}

#[test]
fn other_images_of_a_layout_stay() {
    let temp = Temp::new("build-tags");
    temp.file("a/file", "a", 0o644);
    temp.file("b/file", "b", 0o644);
    tool(&temp, "umoci", &["init", "--layout", "image"]);
    tool(&temp, "umoci", &["new", "--image", "image:theirs"]);
    built(&temp, &["--layer", "a", "--output", "oci:image:one"]);
    built(&temp, &["--layer", "b", "--output", "oci:image:two"]);
    let before = documents(&temp.path("image"), "one");
    let layer = blob_path(&temp.path("image"), &before.0["layers"][0]);
    let inode = layer.metadata().unwrap().ino();
    // The tag moves, and the blob that is there is kept.
    built(&temp, &["--layer", "a", "--output", "oci:image:two"]);
    assert_eq!(documents(&temp.path("image"), "two"), before);
    assert_eq!(layer.metadata().unwrap().ino(), inode);
    assert_eq!(tags(&temp), ["one", "theirs", "two"]);
    assert_eq!(names(&temp.path("image")), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn a_corrupt_blob_is_written_anew() {
    let temp = Temp::new("build-corrupt");
    temp.file("a/file", "a", 0o644);
    built(&temp, &["--layer", "a", "--output", "oci:image:one"]);
    let layer = blob_path(&temp.path("image"), &documents(&temp.path("image"), "one").0["layers"][0]);
    let good = std::fs::read(&layer).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    for bytes in [&bad, &good[..good.len() - 1].to_vec()] {
        std::fs::write(&layer, bytes).unwrap();
        built(&temp, &["--layer", "a", "--output", "oci:image:one"]);
        assert_eq!(std::fs::read(&layer).unwrap(), good);
    }
}

#[test]
fn a_directory_of_others_is_left_alone() {
    let temp = Temp::new("build-foreign");
    temp.file("a/file", "a", 0o644);
    temp.file("home/letter", "dear", 0o644);
    let message = refused(&temp, &["--layer", "a", "--output", "oci:home:x"]);
    assert!(message.contains("neither an image layout nor empty"), "{message}");
    assert_eq!(names(&temp.path("home")), ["letter"]);
    temp.file("broken/oci-layout", "{}", 0o644);
    temp.file("broken/index.json", "[]", 0o644);
    let message = refused(&temp, &["--layer", "a", "--output", "oci:broken:x"]);
    assert!(message.contains("not the index of an image layout"), "{message}");
    assert_eq!(std::fs::read_to_string(temp.path("broken/index.json")).unwrap(), "[]");
    std::fs::create_dir(temp.path("empty")).unwrap();
    built(&temp, &["--layer", "a", "--output", "oci:empty:x"]);
}

#[test]
fn two_writers_lose_no_image() {
    let temp = Temp::new("build-two");
    temp.file("a/file", "a", 0o644);
    let names: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    let start = |tag: &String| {
        let target = format!("oci:image:{tag}");
        firn_image(&temp, &["build", "--layer", "a", "--output", &target])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    for mut child in names.iter().map(start).collect::<Vec<_>>() {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(tags(&temp), names);
}

#[test]
fn a_killed_writer_leaves_a_valid_layout() {
    let temp = Temp::new("build-killed");
    temp.file("a/file", "a", 0o644);
    built(&temp, &["--layer", "a", "--output", "oci:image:old"]);
    let before = json(&temp.path("image/index.json"));
    // It is killed while its blob grows: bytes that don't compress take time.
    let noise: Vec<u8> = (0..64u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::create_dir(temp.path("big")).unwrap();
    std::fs::write(temp.path("big/noise"), noise).unwrap();
    let mut child = firn_image(&temp, &["build", "--layer", "big", "--output", "oci:image:new"]).spawn().unwrap();
    let staging = temp.path("image").join(format!(".blobs.firn-image-{}", child.id()));
    let blob = staging.join("0");
    while blob.metadata().map_or(0, |meta| meta.len()) < 1 << 20 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(staging.exists());
    assert_eq!(json(&temp.path("image/index.json")), before);
    tool(&temp, "skopeo", &["inspect", "oci:image:old"]);
    // The next one removes what was left.
    built(&temp, &["--layer", "a", "--output", "oci:image:next"]);
    assert_eq!(names(&temp.path("image")), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn archives_are_replaced_as_a_whole() {
    let temp = Temp::new("build-archive");
    temp.file("a/file", "a", 0o644);
    temp.file("image.tar", "not yet", 0o644);
    let before = temp.names();
    built(&temp, &["--layer", "a", "--output", "oci-archive:image.tar"]);
    assert_eq!(temp.names(), before);
    let facts: Value =
        serde_json::from_str(&tool(&temp, "skopeo", &["inspect", "oci-archive:image.tar"])).expect("JSON");
    assert_eq!(facts["Layers"].as_array().unwrap().len(), 1);
    let listed = tool(&temp, "tar", &["--list", "--verbose", "--numeric-owner", "--file", "image.tar"]);
    assert!(listed.lines().all(|line| line.contains(" 0/0 ")), "{listed}");
    let output =
        firn_image(&temp, &["build", "--layer", "absent", "--output", "oci-archive:image.tar"]).output().unwrap();
    assert!(text(&output.stderr).contains("absent"));
    assert_eq!(temp.names(), before);
}
