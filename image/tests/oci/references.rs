//! What a reference names, and what is said when it names nothing.

use crate::common::Temp;
use crate::layout::{Blob, Layout, digest};
use crate::tar::Tar;
use serde_json::{Value, json};

fn layer(text: &str) -> Blob {
    Blob::gzip(&Tar::default().file("which", text).end())
}

fn which(temp: &Temp, reference: &str, out: &str) -> String {
    temp.made(&[reference, "--layer-store", "store", "--copy", "-o", out]);
    std::fs::read_to_string(temp.path(out).join("rootfs/which")).expect("read")
}

#[test]
fn tags_and_digests_choose_an_image() {
    let temp = Temp::new("references");
    let layout = Layout::new(&temp).add("a", &[layer("a")]).add("b", &[layer("b")]);
    let manifest = layout.image(&[layer("b")], &json!({ "Cmd": ["/bin/true"] }));
    let digest = manifest["digest"].as_str().expect("a digest");
    assert_eq!(which(&temp, "oci:img:a", "1"), "a");
    assert_eq!(which(&temp, "oci:img:b", "2"), "b");
    assert_eq!(which(&temp, &format!("oci:img@{digest}"), "3"), "b");
    assert_eq!(which(&temp, &format!("oci:img:b@{digest}"), "4"), "b");
    let refused = |reference: &str| temp.refused(&[reference, "--layer-store", "store", "-o", "out"]);
    assert!(refused("oci:img").contains("several images: give the name of one: it has a, b"));
    assert!(refused("oci:img:c").contains(r#"no image "c": it has a, b"#));
    assert!(refused(&format!("oci:img:a@{digest}")).contains("by now, and not"));
    assert!(refused(&format!("oci:img@sha256:{}", "0".repeat(64))).contains("no image sha256:0000"));
    assert!(refused("oci:absent").contains("No such file or directory"));
    assert!(refused("oci:store").contains("is its directory an image layout?"));
}

#[test]
fn other_transports_say_what_to_do() {
    let temp = Temp::new("transports");
    let refused = |reference: &str| temp.refused(&[reference, "-o", "out"]);
    assert!(refused("containers-storage:x").contains("podman save --format oci-archive"));
    assert!(refused("busybox").contains("oci:DIR[:TAG]"));
    assert!(refused("dir:/x").contains("no transport"));
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn index(layout: &Layout<'_>, manifests: &[Value]) -> Value {
    layout.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
}

/// As buildx writes: images of several platforms, and what attests them.
#[test]
fn an_index_gives_the_image_of_this_machine() {
    let temp = Temp::new("platforms");
    let layout = Layout::new(&temp);
    let of = |text: &str, os: &str, architecture: &str| {
        let mut manifest = layout.image(&[layer(text)], &json!({ "Cmd": ["x"] }));
        manifest["platform"] = json!({ "os": os, "architecture": architecture });
        manifest
    };
    let (arm, own) = (of("arm", "linux", "arm64"), of("own", "linux", "amd64"));
    let platforms = index(&layout, &[of("attested", "unknown", "unknown"), arm.clone(), own]);
    let nested = index(
        &layout,
        &[{
            let mut inner = platforms.clone();
            inner["platform"] = json!({ "os": "linux", "architecture": "amd64" });
            inner
        }],
    );
    let foreign = index(&layout, std::slice::from_ref(&arm));
    let layout = layout.tag("all", platforms).tag("nested", nested).tag("foreign", foreign);
    assert_eq!(which(&temp, "oci:img:all", "1"), "own");
    assert_eq!(which(&temp, "oci:img:nested", "2"), "own");
    assert!(layout.refused("foreign").contains("no image for linux/amd64: it has linux/arm64"));
    // Asked for by its digest, it is taken.
    let digest = arm["digest"].as_str().expect("a digest");
    assert_eq!(which(&temp, &format!("oci:img@{digest}"), "3"), "arm");
    let args = |reference, platform| {
        ["--platform", platform, reference, "--layer-store", "store", "--copy", "-o", "4", "--force"]
    };
    for (reference, platform) in [("oci:img:all", "linux/arm64"), ("oci:img:foreign", "aarch64")] {
        temp.made(&args(reference, platform));
        assert_eq!(std::fs::read_to_string(temp.path("4/rootfs/which")).expect("read"), "arm");
        std::fs::remove_dir_all(temp.path("4")).expect("remove");
    }
    let refused = |reference, platform| temp.refused(&args(reference, platform));
    assert!(
        refused("oci:img:all", "arm/v6").contains("no image for linux/arm/v6: it has unknown/unknown, linux/arm64")
    );
    assert!(refused("oci:img:all", "windows/amd64").contains("only images for linux"));
    assert!(refused("oci:img:nested", "arm64").contains("no image for linux/arm64: it has linux/amd64"));
    layout.add("alone", &[layer("alone")]);
    assert!(refused("oci:img:alone", "arm64").contains("no image for linux/arm64: it has linux/amd64"));
}

#[test]
fn indexes_within_indexes_have_an_end() {
    let temp = Temp::new("deep");
    let layout = Layout::new(&temp);
    let mut top = layout.image(&[layer("x")], &json!({ "Cmd": ["x"] }));
    for _ in 0..20 {
        top = index(&layout, &[top]);
    }
    // A cycle would need a digest of itself; what comes near is one of a wrong digest.
    let text = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": INDEX, "digest": format!("sha256:{}", "1".repeat(64)), "size": 1 }] })
    .to_string();
    let one = format!("sha256:{}", "1".repeat(64));
    std::fs::write(temp.path("img/blobs").join(one.replace(':', "/")), &text).expect("write");
    let cycle = json!({ "mediaType": INDEX, "digest": one, "size": text.len() });
    let layout = layout.tag("deep", top).tag("cycle", cycle);
    assert!(layout.refused("deep").contains("nested more than 8 deep"));
    assert!(layout.refused("cycle").contains(&format!("its digest is {}", digest(text.as_bytes()))));
}

#[test]
fn documents_are_small() {
    let temp = Temp::new("documents");
    let layout = Layout::new(&temp);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let large = layout.blob(media_type, &vec![b' '; 5 << 20]);
    let layout = layout.tag("large", large);
    assert!(layout.refused("large").contains("bytes are too many for a manifest"));
}
