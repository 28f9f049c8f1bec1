//! Images of registries: a real one on loopback, and one that lies.

#[path = "../bundle/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "../build/fixture.rs"]
#[allow(dead_code)]
mod fixture;

mod liar;
mod platforms;
mod push;
mod server;
mod store;
mod taker;
mod tokens;

use common::{Temp, text};
use fixture::{documents, firn_image, success, tool};
use server::Registry;
use std::path::Path;
use std::process::Output;

/// A layout with one image of two layers.
fn image(temp: &Temp) {
    temp.file("root/etc/name", "one\n", 0o644);
    // Nothing that could be compressed.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..3_200_000).map(|_| next()).collect();
    std::fs::create_dir_all(temp.path("more")).unwrap();
    std::fs::write(temp.path("more/large"), bytes).unwrap();
    fixture::built(temp, &["--layer", "root", "--layer", "more", "--output", "oci:made:web"]);
}

fn copy(temp: &Temp, source: &str, target: &str) -> Output {
    let mut command = firn_image(temp, &["copy", source, target]);
    command.env("CONTAINERS_REGISTRIES_CONF", temp.path("registries.conf"));
    command.env("REGISTRY_AUTH_FILE", temp.path("auth.json")).output().expect("run firn-image")
}

fn copied(temp: &Temp, source: &str, target: &str) -> String {
    let output = copy(temp, source, target);
    assert!(output.status.success(), "{source}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn refused(temp: &Temp, source: &str, target: &str) -> String {
    let output = copy(temp, source, target);
    assert!(!output.status.success(), "{source}: {}", text(&output.stdout));
    text(&output.stderr).trim().to_owned()
}

/// The names of the blobs of a layout.
fn blobs(layout: &Path) -> Vec<String> {
    let names = std::fs::read_dir(layout.join("blobs/sha256")).expect("list blobs");
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_image_comes_as_it_is_by_tag_and_by_digest() {
    let temp = Temp::new("pull");
    image(&temp);
    let registry = Registry::start(&temp, false);
    let name = format!("{}/team/web", registry.address);
    tool(&temp, "skopeo", &["copy", "--dest-tls-verify=false", "oci:made:web", &format!("docker://{name}:1")]);
    let digest = copied(&temp, &format!("docker://{name}:1"), "oci:got:web");
    assert_eq!(blobs(&temp.path("got")), blobs(&temp.path("made")));
    assert_eq!(documents(&temp.path("got"), "web"), documents(&temp.path("made"), "web"));
    assert_eq!(copied(&temp, &format!("docker://{name}@{digest}"), "oci:got:digest"), digest);
    assert_eq!(tool(&temp, "skopeo", &["inspect", "--format", "{{.Digest}}", "oci:got:digest"]).trim(), digest);
    let missing = refused(&temp, &format!("docker://{name}:2"), "oci:got:none");
    assert!(missing.contains("the registry answers: manifest unknown"), "{missing}");
    let other = format!("docker://{name}@sha256:{}", "0".repeat(64));
    assert!(refused(&temp, &other, "oci:got:none").contains("manifest unknown"));
    // Blobs that are there are not fetched: the registry has lost them.
    registry.lose_blobs();
    assert_eq!(copied(&temp, &format!("docker://{name}:1"), "oci:got:again"), digest);
    assert!(!copy(&temp, &format!("docker://{name}:1"), "oci:new:web").status.success());
    assert_eq!(std::fs::read_to_string(temp.path("new/index.json")).unwrap().matches("digest").count(), 0);
}

#[test]
fn credentials_are_those_of_podman_and_mirrors_those_of_registries_conf() {
    let temp = Temp::new("login");
    image(&temp);
    let registry = Registry::start(&temp, true);
    let name = format!("{}/team/web", registry.address);
    let source = format!("docker://{name}:1");
    let credentials = ["copy", "--dest-creds", "firn:secret", "--dest-tls-verify=false", "oci:made:web", &source];
    tool(&temp, "skopeo", &credentials);
    let error = refused(&temp, &source, "oci:got:web");
    assert!(error.contains("log in"), "{error}");
    // As `podman login` writes it.
    let login =
        ["login", "--authfile", "auth.json", "--tls-verify=false", "-u", "firn", "-p", "secret", &registry.address];
    tool(&temp, "podman", &login);
    copied(&temp, &source, "oci:got:web");
    // By a helper program.
    let helper = "#!/bin/sh\nread server; echo \"$server\" > asked\necho '{\"ServerURL\":\"x\",\"Username\":\"firn\",\"Secret\":\"secret\"}'\n";
    temp.file("bin/docker-credential-test", helper, 0o755);
    temp.file("auth.json", &format!("{{\"credHelpers\":{{\"{}\":\"test\"}}}}", registry.address), 0o600);
    let path = format!("{}:{}", temp.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = firn_image(&temp, &["copy", &source, "oci:helped:web"]);
    success(command.env("PATH", path).env("REGISTRY_AUTH_FILE", temp.path("auth.json")));
    assert_eq!(std::fs::read_to_string(temp.path("asked")).unwrap().trim(), registry.address);
    // A mirror that nobody serves, and another name.
    temp.file(
        "auth.json",
        &format!("{{\"auths\":{{\"{}\":{{\"auth\":\"ZmlybjpzZWNyZXQ=\"}}}}}}", registry.address),
        0o600,
    );
    let conf = format!(
        "[[registry]]\nprefix = \"example.invalid/x\"\nlocation = \"{0}/team\"\n[[registry.mirror]]\n\
         location = \"127.0.0.1:1/nobody\"\n[[registry]]\nprefix = \"blocked.invalid\"\nblocked = true\n",
        registry.address
    );
    temp.file("registries.conf", &conf, 0o644);
    copied(&temp, "docker://example.invalid/x/web:1", "oci:got:mirrored");
    let error = refused(&temp, "docker://blocked.invalid/x", "oci:got:none");
    assert!(error.contains("is blocked by") && error.contains("registries.conf"), "{error}");
}
