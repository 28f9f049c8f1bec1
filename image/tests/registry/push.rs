//! Images are sent to a registry: only what it lacks.

use crate::common::{Temp, text};
use crate::fixture::{FakeStore, built, documents, firn_image, success, tool};
use crate::server::Registry;
use crate::{blobs, copied, copy, image, refused};
use serde_json::Value;

/// The numbers of blobs and manifests that were uploaded so far.
fn uploads(registry: &Registry) -> (usize, usize) {
    (registry.requests("PUT", "/blobs/uploads/").len(), registry.requests("PUT", "/manifests/").len())
}

/// What became of the blobs, by the JSON that is printed.
fn ways(printed: &str) -> Vec<String> {
    let facts: Value = serde_json::from_str(printed).expect("parse JSON");
    let blobs = facts["blobs"].as_array().expect("blobs");
    blobs.iter().map(|blob| blob["way"].as_str().expect("a way").to_owned()).collect()
}

#[test]
fn only_what_the_registry_lacks_is_sent() {
    let temp = Temp::new("push-missing");
    let registry = Registry::start(&temp, false);
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base-1.0", "base", &[]);
    let old = store.add("b", "app-1.0", "old", &[&base]);
    let new = store.add("c", "app-1.1", "new", &[&base]);
    let [at, list] = &store.options();
    let graph = |app: &str| std::fs::write(temp.path("registration"), format!("{base}\n\n0\n{app}\n\n1\n{base}\n"));
    graph(&old).expect("write");
    built(&temp, &[at, list, "--closure", &old, "--output", "oci:made:old"]);
    graph(&new).expect("write");
    built(&temp, &[at, list, "--closure", &new, "--output", "oci:made:new"]);
    let name = |tag: &str| format!("docker://{}/team/web:{tag}", registry.address);
    let digest = copied(&temp, "oci:made:old", &name("1"));
    // Two layers and the config.
    assert_eq!(uploads(&registry), (3, 1));
    let seen = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &name("1")];
    assert_eq!(tool(&temp, "skopeo", &seen).trim(), digest);
    // One path has changed: its layer, the config and the manifest.
    copied(&temp, "oci:made:new", &name("2"));
    assert_eq!(uploads(&registry), (5, 2));
    // Nothing has.
    let printed = success(&mut firn_image(&temp, &["copy", "--json", "oci:made:new", &name("3")]));
    assert_eq!(ways(&printed), ["present", "present", "present"]);
    assert_eq!(uploads(&registry), (5, 3));
    // In another repository the registry takes them from this one.
    let other = format!("docker://{}/other/web:1", registry.address);
    let printed = success(&mut firn_image(&temp, &["copy", "--json", "oci:made:new", &other]));
    assert_eq!(ways(&printed), ["mounted", "mounted", "mounted"]);
    assert_eq!((uploads(&registry), registry.requests("POST", "mount=").len()), ((5, 4), 3));
    assert_eq!(copied(&temp, &other, "oci:got:new"), copied(&temp, &name("2"), "oci:got:same"));
    assert_eq!(documents(&temp.path("got"), "new"), documents(&temp.path("made"), "new"));
}

#[test]
fn an_image_is_built_for_a_registry_with_the_layers_that_it_lacks() {
    let temp = Temp::new("push-build");
    let registry = Registry::start(&temp, false);
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base-1.0", "base", &[]);
    let app = store.add("b", "app-1.0", "app", &[&base]);
    let [at, list] = &store.options();
    let target = format!("docker://{}/team/web:1", registry.address);
    temp.file("tmp/kept", "", 0o644);
    let scratch = temp.path("tmp");
    let build = |target: &str| {
        let mut command = firn_image(&temp, &["build", at, list, "--closure", &app, "--json", "--output", target]);
        let printed = success(command.env("TMPDIR", &scratch));
        serde_json::from_str::<Value>(&printed).expect("parse JSON")
    };
    let first = build(&target);
    assert_eq!(uploads(&registry), (3, 1));
    assert_eq!(first["digest"], build("oci:made:web")["digest"]);
    // The application is another one by now, at the same path: as after a collection and a build.
    std::fs::remove_dir_all(temp.path(&format!("root{app}"))).expect("remove");
    temp.file(&format!("root{app}/bin/app"), "#!/bin/sh\necho other\n", 0o555);
    let second = build(&target);
    let reused: Vec<_> = second["layers"].as_array().expect("layers").iter().map(|layer| &layer["reused"]).collect();
    assert_eq!(reused, [true, false]);
    assert_eq!(uploads(&registry), (5, 2));
    assert_eq!(copied(&temp, &target, "oci:got:web"), second["digest"]);
    let left: Vec<_> = std::fs::read_dir(&scratch).expect("list").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_registry_with_passwords_gets_images_of_those_who_log_in() {
    let temp = Temp::new("push-login");
    image(&temp);
    let registry = Registry::start(&temp, true);
    let target = format!("docker://{}/team/web:1", registry.address);
    let error = refused(&temp, "oci:made:web", &target);
    assert!(error.contains("log in, as by `podman login`"), "{error}");
    let wrong = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"ZmlybjpvdGhlcg==\"}}}}}}", registry.address);
    temp.file("auth.json", &wrong, 0o600);
    let error = refused(&temp, "oci:made:web", &target);
    assert!(error.contains("log in, as by `podman login`") && !error.contains("other\""), "{error}");
    assert_eq!(uploads(&registry), (0, 0));
    let right = wrong.replace("ZmlybjpvdGhlcg==", "ZmlybjpzZWNyZXQ=");
    temp.file("auth.json", &right, 0o600);
    // A mirror gets nothing: nobody listens there.
    let conf = format!(
        "[[registry]]\nprefix = \"{0}\"\nlocation = \"{0}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n",
        registry.address
    );
    temp.file("registries.conf", &conf, 0o644);
    let digest = copied(&temp, "oci:made:web", &target);
    assert_eq!(copied(&temp, &target, "oci:got:web"), digest);
    assert_eq!(blobs(&temp.path("got")), blobs(&temp.path("made")));
}

#[test]
fn images_go_from_any_place_to_any_other() {
    let temp = Temp::new("push-places");
    image(&temp);
    let registry = Registry::start(&temp, false);
    let name = |tag: &str| format!("docker://{}/x/web:{tag}", registry.address);
    let digest = copied(&temp, "oci:made:web", "oci-archive:web.tar:one");
    assert_eq!(copied(&temp, "oci-archive:web.tar:one", &name("archive")), digest);
    assert_eq!(copied(&temp, &name("archive"), &format!("docker://{}/y/web", registry.address)), digest);
    assert_eq!(copied(&temp, &name("archive"), "oci-archive:again.tar"), digest);
    assert_eq!(copied(&temp, "oci-archive:again.tar", "oci:again:web"), digest);
    assert_eq!(blobs(&temp.path("again")), blobs(&temp.path("made")));
    // One of docker has no manifest: it gets one, and layers that are compressed. The config stays.
    tool(&temp, "skopeo", &["copy", "oci:made:web", "docker-archive:docker.tar:x/web:1"]);
    let made = copied(&temp, "docker-archive:docker.tar", &name("docker"));
    assert_eq!(copied(&temp, "docker-archive:docker.tar:x/web:1", "oci:docker:web"), made);
    let id = |source: &str| {
        let text = tool(&temp, "skopeo", &["inspect", "--config", "--tls-verify=false", source]);
        serde_json::from_str::<Value>(&text).expect("parse JSON")["rootfs"].clone()
    };
    assert_eq!(id(&name("docker")), id("oci:made:web"));
    let (manifest, _) = documents(&temp.path("docker"), "web");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    tool(&temp, "umoci", &["unpack", "--image", "docker:web", "unpacked"]);
    assert_eq!(std::fs::read_to_string(temp.path("unpacked/rootfs/etc/name")).expect("read"), "one\n");
}

#[test]
fn a_blob_that_is_corrupt_is_not_sent() {
    let temp = Temp::new("push-corrupt");
    image(&temp);
    let registry = Registry::start(&temp, false);
    let (manifest, _) = documents(&temp.path("made"), "web");
    let path = crate::fixture::blob_path(&temp.path("made"), &manifest["layers"][1]);
    let mut bytes = std::fs::read(&path).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let target = format!("docker://{}/team/web:1", registry.address);
    let error = refused(&temp, "oci:made:web", &target);
    assert!(error.contains("its digest is") && error.contains("corrupt"), "{error}");
    assert_eq!(uploads(&registry).1, 0);
    let digest = manifest["layers"][1]["digest"].as_str().expect("digest");
    assert_eq!(registry.requests("PUT", &digest.replace(':', "%3A")).len(), 0);
    let output = copy(&temp, "oci:made:web", &format!("{}@{digest}", target.trim_end_matches(":1")));
    assert!(text(&output.stderr).contains("name the image by a tag"), "{}", text(&output.stderr));
}

#[test]
fn images_of_registries_are_shown_and_compared() {
    let temp = Temp::new("push-shown");
    image(&temp);
    let registry = Registry::start(&temp, false);
    let name = format!("docker://{}/x/web:1", registry.address);
    copied(&temp, "oci:made:web", &name);
    temp.file("root/etc/name", "other\n", 0o644);
    built(&temp, &["--layer", "root", "--layer", "more", "--output", "oci:made:new"]);
    let said = success(&mut firn_image(&temp, &["diff", &name, "oci:made:new"]));
    assert!(said.starts_with("/etc/name  changed") && said.lines().count() == 2, "{said}");
    // Without a layer, which the registry does not have any more.
    registry.lose_blobs();
    let local = success(&mut firn_image(&temp, &["inspect", "--json", "oci:made:web"]));
    let remote = success(&mut firn_image(&temp, &["inspect", "--json", &name]));
    assert_eq!(remote.replace(&name, "oci:made:web"), local);
}

/// Plain HTTP is tried first on loopback, and refused.
#[test]
fn a_registry_on_loopback_may_speak_https() {
    let temp = Temp::new("push-tls");
    image(&temp);
    let registry = Registry::start_tls(&temp);
    let target = format!("docker://{}/team/web:1", registry.address);
    // Nobody has signed its certificate; what became of plain HTTP is not told. (Its address may have any digits.)
    for (source, destination) in [("oci:made:web", &*target), (&*target, "oci:got:web")] {
        let error = refused(&temp, source, destination);
        let told = error.replace(&registry.address, "REGISTRY");
        assert!(told.contains("certificate") && !told.contains("400") && !told.contains("http:"), "{error}");
    }
    let trusting = |source: &str, target: &str| {
        success(firn_image(&temp, &["copy", source, target]).env("SSL_CERT_FILE", temp.path("tls.pem")))
    };
    let digest = trusting("oci:made:web", &target);
    assert_eq!(trusting(&target, "oci:got:web"), digest);
    // Or it is not asked for.
    let conf = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.address);
    temp.file("registries.conf", &conf, 0o644);
    assert_eq!(copied(&temp, &target, "oci:got:again"), digest.trim());
    assert_eq!(copied(&temp, "oci:made:web", &format!("{target}-again")), digest.trim());
    // What it has from an earlier build is found.
    let mut store = FakeStore::new(&temp);
    let app = store.add("b", "app-1.0", "app", &[]);
    let [at, list] = &store.options();
    let build = || {
        let mut command = firn_image(&temp, &["build", at, list, "--closure", &app, "--json", "--output", &target]);
        let printed = success(command.env("SSL_CERT_FILE", temp.path("tls.pem")));
        serde_json::from_str::<Value>(&printed).expect("parse JSON")["layers"][0]["reused"].clone()
    };
    assert_eq!([build(), build()], [false, true]);
}
