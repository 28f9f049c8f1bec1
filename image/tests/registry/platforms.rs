//! Images of several platforms.

use crate::common::{Temp, text};
use crate::fixture::{built, documents, firn_image, json, success, tool};
use crate::server::Registry;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A layout `made` with the index `all` of images that firn-image has built, one for each of the platforms.
fn images(temp: &Temp, platforms: &[&str]) {
    for platform in platforms {
        temp.file("root/platform", platform, 0o644);
        built(temp, &["--layer", "root", "--platform", platform, "--output", &format!("oci:made:{}", tag(platform))]);
    }
    let layout = temp.path("made");
    let mut top = json(&layout.join("index.json"));
    for entry in top["manifests"].as_array_mut().unwrap() {
        let tag = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned();
        let (_, config) = documents(&layout, &tag);
        entry["platform"] = json!({ "os": config["os"], "architecture": config["architecture"] });
        if !config["variant"].is_null() {
            entry["platform"]["variant"] = config["variant"].clone();
        }
        entry.as_object_mut().unwrap().remove("annotations");
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    top["mediaType"] = json!(media_type);
    let bytes = top.to_string();
    let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(layout.join("blobs/sha256").join(&hex), &bytes).unwrap();
    let annotations = json!({ "org.opencontainers.image.ref.name": "all" });
    let entry = json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len(), "annotations": annotations });
    std::fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()).unwrap();
}

fn tag(platform: &str) -> String {
    platform.replace('/', "-")
}

#[test]
fn the_image_for_a_platform_is_fetched_alone() {
    let temp = Temp::new("platforms");
    images(&temp, &["linux/arm64", "linux/amd64", "linux/arm/v7", "linux/arm/v6"]);
    let registry = Registry::start(&temp, false);
    let name = format!("docker://{}/team/web", registry.address);
    let all = format!("{name}:all");
    tool(&temp, "skopeo", &["copy", "--all", "--dest-tls-verify=false", "oci:made:all", &all]);
    let of = |reference: &str, platform: &str| -> Value {
        let inspected = success(&mut firn_image(&temp, &["inspect", "--json", "--platform", platform, reference]));
        serde_json::from_str::<Value>(&inspected).unwrap()["config"].take()
    };
    let config = of(&all, "arm/v6");
    assert_eq!((&config["architecture"], &config["variant"]), (&json!("arm"), &json!("v6")));
    // As skopeo chooses.
    let theirs =
        ["--override-os=linux", "--override-arch=arm", "--override-variant=v7", "copy", "--src-tls-verify=false"];
    tool(&temp, "skopeo", &[&theirs[..], &[&all, "oci:theirs:web"]].concat());
    success(&mut firn_image(&temp, &["copy", "--platform", "linux/arm/v7", &all, "oci:ours:web"]));
    assert_eq!(documents(&temp.path("ours"), "web"), documents(&temp.path("theirs"), "web"));
    // The store has one of them by the name: what was asked for last.
    let in_store = |verb: &str, more: &[&str]| firn_image(&temp, &[&[verb, "--layer-store", "store"], more].concat());
    for platform in ["linux/arm64", "linux/amd64"] {
        success(&mut in_store("pull", &["--platform", platform, &all]));
        let (_, config) = documents(&temp.path("store/images"), all.strip_prefix("docker://").unwrap());
        assert_eq!(format!("linux/{}", config["architecture"].as_str().unwrap()), platform);
        let made = success(&mut in_store(
            "bundle",
            &["--platform", platform, &all, "--force", "--json", "-o", "out", "--", "x"],
        ));
        let made: Value = serde_json::from_str(&made).unwrap();
        let layer = made["layers"][0].as_str().unwrap();
        assert_eq!(std::fs::read_to_string(format!("{layer}/platform")).unwrap(), platform);
        assert_eq!((&made["image"], &made["bundle"]), (&json!(all), &json!(temp.path("out"))));
    }
    // An image that is no index must be for the platform; nothing of it stays.
    let (manifest, _) = documents(&temp.path("ours"), "web");
    tool(&temp, "skopeo", &["copy", "--dest-tls-verify=false", "oci:ours:web", &format!("{name}:arm")]);
    let refused = firn_image(&temp, &["copy", "--platform", "amd64", &format!("{name}:arm"), "oci:none:web"]).output();
    let said = text(&refused.unwrap().stderr);
    assert!(said.contains("no image for linux/amd64: it has linux/arm/v7"), "{said}");
    assert_eq!(json(&temp.path("none/index.json"))["manifests"], json!([]));
    let config = of(&format!("{name}:arm"), "linux/arm");
    assert_eq!((&config["variant"], manifest["layers"].as_array().unwrap().len()), (&json!("v7"), 1));
    let fetched = success(&mut firn_image(
        &temp,
        &["copy", "--json", "--platform", "arm", &format!("{name}:arm"), "oci:new:web"],
    ));
    let fetched: Value = serde_json::from_str(&fetched).unwrap();
    assert_eq!(fetched["blobs"].as_array().unwrap().len(), 2);
    assert!(fetched["blobs"].as_array().unwrap().iter().all(|blob| blob["way"] == "moved"), "{fetched}");
}
