//! The store: pulled images, bundles of them, and what is removed when nothing uses it.

use crate::common::{IMAGE, Temp, needs, text};
use crate::fixture::{blob_path, built, documents, firn_image, success, tool};
use crate::liar::Lie;
use crate::server::Registry;
use crate::{blobs, copied, image};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A registry with the image `x/web:1`, and its name.
fn registry(temp: &Temp) -> (Registry, String) {
    image(temp);
    let registry = Registry::start(temp, false);
    let name = format!("{}/x/web:1", registry.address);
    copied(temp, "oci:made:web", &format!("docker://{name}"));
    (registry, name)
}

/// Runs a command with the test's store.
fn run(temp: &Temp, args: &[&str]) -> Output {
    in_store(temp, args).output().expect("run firn-image")
}

fn in_store(temp: &Temp, args: &[&str]) -> Command {
    firn_image(temp, &[&args[..1], &["--layer-store", "store"], &args[1..]].concat())
}

fn done(temp: &Temp, args: &[&str]) -> String {
    success(&mut in_store(temp, args))
}

fn parsed(temp: &Temp, args: &[&str]) -> Value {
    serde_json::from_str(&done(temp, &[args, &["--json"]].concat())).expect("parse JSON")
}

/// The kinds of what was removed, or would be.
fn removed(temp: &Temp, args: &[&str]) -> Vec<String> {
    let facts = parsed(temp, &[&["gc"], args].concat());
    let mut kinds: Vec<_> = facts["removed"]
        .as_array()
        .expect("removed")
        .iter()
        .map(|one| one["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds
}

/// The unpacked layers.
fn layers(temp: &Temp) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(temp.path("store/sha256")).into_iter().flatten();
    entries.map(|entry| entry.expect("entry").path()).filter(|path| path.is_dir()).collect()
}

#[test]
fn what_neither_an_image_nor_a_bundle_uses_is_removed() {
    let temp = Temp::new("store-life");
    let (_registry, name) = registry(&temp);
    assert_eq!(done(&temp, &["list"]).lines().count(), 1);
    let digest = done(&temp, &["pull", &name]).trim().to_owned();
    assert_eq!(layers(&temp).len(), 2);
    let again = parsed(&temp, &["pull", &format!("docker://{name}")]);
    assert!(again["blobs"].as_array().unwrap().iter().all(|blob| blob["way"] == "present"), "{again}");
    done(&temp, &["bundle", &format!("docker://{name}"), "--output", "web", "--", "/bin/true"]);
    let listed = parsed(&temp, &["list"]);
    let facts = json!({ "name": name, "digest": digest, "bundles": [temp.path("web")] });
    for (key, value) in facts.as_object().unwrap() {
        assert_eq!(listed[0][key], *value);
    }
    assert_eq!(listed[0]["size"].as_u64(), Some(sizes(&temp)));
    let table = done(&temp, &["list"]);
    assert!(table.lines().nth(1).unwrap().starts_with(&name) && table.trim_end().ends_with(" 1"), "{table}");
    // The image and the bundle use everything.
    assert_eq!(removed(&temp, &[]), [""; 0]);
    // The bundle needs the layers, and no blobs.
    let removed_image = parsed(&temp, &["remove", &name]);
    assert_eq!(removed_image, json!({ "removed": [{ "name": name, "digest": digest }] }));
    assert!(text(&run(&temp, &["remove", &name]).stderr).contains("there is no such image"));
    let four = ["blob"; 4];
    assert_eq!(removed(&temp, &["--dry-run"]), four);
    assert_eq!(blobs(&temp.path("store/images")).len(), 4);
    assert_eq!(removed(&temp, &[]), four);
    assert_eq!(blobs(&temp.path("store/images")).len(), 0);
    success(&mut firn_image(&temp, &["inspect", "web"]));
    assert_eq!(layers(&temp).len(), 2);
    // Nothing is left when it is gone.
    std::fs::remove_dir_all(temp.path("web")).expect("remove");
    assert_eq!(removed(&temp, &[]), ["layer", "layer", "record"]);
    let left = Command::new("find").arg(temp.path("store")).args(["-type", "f"]).output().expect("run find");
    assert_eq!(text(&left.stdout).lines().filter(|path| !path.contains("/images/")).count(), 0);
    done(&temp, &["pull", &name]);
    assert_eq!(layers(&temp).len(), 2);
}

/// Of the blobs of the image.
fn sizes(temp: &Temp) -> u64 {
    let (manifest, _) = documents(&temp.path("made"), "web");
    let layers: u64 = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    layers + manifest["config"]["size"].as_u64().unwrap()
}

/// A bundle of a layout, whose blobs are not in the store, that was replaced, and one that was copied.
#[test]
fn a_bundle_keeps_the_layers_that_it_names_now() {
    let temp = Temp::new("store-bundles");
    image(&temp);
    built(&temp, &["--layer", "root", "--output", "oci:made:small"]);
    done(&temp, &["bundle", "oci:made:web", "--output", "web", "--", "/bin/true"]);
    done(&temp, &["bundle", "oci:made:web", "--copy", "--output", "copy", "--", "/bin/true"]);
    assert_eq!(removed(&temp, &[]), [""; 0]);
    done(&temp, &["bundle", "oci:made:small", "--force", "--output", "web", "--", "/bin/true"]);
    assert_eq!(removed(&temp, &[]), ["layer"]);
    // One that can't be read keeps what it was made of.
    let file = temp.path("web/firn.json");
    let content = std::fs::read_to_string(&file).expect("read");
    temp.file("web/firn.json", "{", 0o600);
    assert_eq!(removed(&temp, &[]), [""; 0]);
    temp.file("web/firn.json", &content, 0o600);
    success(&mut firn_image(&temp, &["inspect", "web"]));
    // A layer of the store that was given as a directory is kept for that bundle too.
    let layer = layers(&temp).remove(0).display().to_string();
    done(&temp, &["bundle", "--layer", &layer, "--force", "--output", "web", "--", "/bin/true"]);
    std::fs::remove_file(temp.path("store/bundles").read_dir().unwrap().next().unwrap().unwrap().path()).unwrap();
    done(&temp, &["bundle", "--layer", &layer, "--force", "--output", "web", "--", "/bin/true"]);
    assert_eq!(removed(&temp, &[]), [""; 0]);
    // Of a run that was killed before there was a bundle.
    std::fs::rename(temp.path("web"), temp.path("elsewhere")).expect("rename");
    assert_eq!(removed(&temp, &[]), ["layer", "record"]);
}

#[test]
fn what_runs_keeps_its_layers_without_its_bundle() {
    needs("busybox", "busybox-static");
    let firn = Path::new(IMAGE).with_file_name("firn");
    assert!(firn.exists(), "{} is missing: run `cargo build -p firn`", firn.display());
    let temp = Temp::new("store-runs");
    std::fs::create_dir_all(temp.path("root/bin")).expect("make directory");
    std::fs::copy("/bin/busybox", temp.path("root/bin/busybox")).expect("copy");
    temp.file("more/etc/name", "more\n", 0o644);
    let words = ["--cmd", "/bin/busybox", "--cmd", "sleep", "--cmd", "600"];
    built(&temp, &[&["--layer", "root", "--layer", "more", "--output", "oci:made:web"], &words[..]].concat());
    done(&temp, &["bundle", "oci:made:web", "--output", "web"]);
    let id = format!("firn-image-test-gc-{}", std::process::id());
    let mut config: Value = temp.json("web/config.json");
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    std::fs::write(temp.path("web/config.json"), config.to_string()).expect("write config");
    let state = temp.path("state");
    let call = |args: &[&str]| {
        let mut command = Command::new(&firn);
        // Not a pipe, which the container would keep open.
        command.arg("--root").arg(&state).args(args).stdout(Stdio::null());
        assert!(command.status().expect("run firn").success(), "{args:?}");
    };
    let bundle = temp.path("web");
    call(&["create", "--bundle", bundle.to_str().unwrap(), &id]);
    call(&["start", &id]);
    std::fs::remove_dir_all(&bundle).expect("remove");
    let kinds = removed(&temp, &[]);
    let kept = layers(&temp).len();
    call(&["delete", "--force", &id]);
    assert_eq!((kinds, kept), (vec!["record".to_owned()], 2));
    assert_eq!(removed(&temp, &[]), ["layer", "layer"]);
}

/// Bundles are made of images while others remove everything that is not used, again and again.
#[test]
fn nothing_is_removed_that_another_process_counts_on() {
    let temp = Temp::new("store-race");
    let (_registry, name) = registry(&temp);
    let source = format!("docker://{name}");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut runs = 0;
            while !ended.load(Ordering::Relaxed) {
                // What was pulled is used by the bundle alone, or by nothing.
                run(&temp, &["remove", &name]);
                done(&temp, &["gc"]);
                runs += 1;
            }
            runs
        });
        let maker = |number: usize| {
            let output = format!("web{number}");
            for _ in 0..4 {
                done(&temp, &["bundle", &source, "--output", &output, "--", "/bin/true"]);
                success(&mut firn_image(&temp, &["inspect", &output]));
                done(&temp, &["gc"]);
                success(&mut firn_image(&temp, &["inspect", &output]));
                std::fs::remove_dir_all(temp.path(&output)).expect("remove");
            }
        };
        let makers: Vec<_> = (0..2).map(|number| scope.spawn(move || maker(number))).collect();
        let results: Vec<_> = makers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.store(true, Ordering::Relaxed);
        assert!(collector.join().expect("collect") > 0);
        assert!(results.iter().all(Result::is_ok));
    });
}

/// A part of an image is there, and the rest comes when gc waits.
#[test]
fn an_image_that_is_being_fetched_is_not_removed() {
    let temp = Temp::new("store-fetched");
    image(&temp);
    let (address, asked) = crate::liar::serve(temp.path("made"), Lie::Slow);
    let name = format!("{address}/x/web:1");
    let quiet = |args: &[&str]| in_store(&temp, args).stdout(Stdio::null()).spawn().expect("run firn-image");
    let small = || temp.path("store/images/blobs/sha256").read_dir().is_ok_and(|mut names| names.next().is_some());
    let mut pull = quiet(&["pull", &name]);
    until(|| small() && asked.load(Ordering::Relaxed) > 0);
    let mut gc = quiet(&["gc"]);
    let waits = format!(" {} ", gc.id());
    let is_waiting = || {
        let locks = std::fs::read_to_string("/proc/locks").expect("read the locks");
        locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&waits))
    };
    let mut ended = false;
    until(|| {
        ended = gc.try_wait().expect("wait").is_some();
        ended || is_waiting()
    });
    temp.file("go", "", 0o644);
    assert!(pull.wait().expect("wait").success());
    assert!(gc.wait().expect("wait").success());
    assert!(!ended, "gc has not waited");
    assert_eq!(done(&temp, &["verify"]), "3 blobs, 2 unpacked layers verified\n");
}

/// The second half of the second layer is held back until the first layer is seen unpacked, and the first half of
/// the second one.
#[test]
fn layers_are_unpacked_while_they_are_fetched() {
    let temp = Temp::new("store-early");
    image(&temp);
    let (address, asked) = crate::liar::serve(temp.path("made"), Lie::Slow);
    let name = format!("{address}/x/web:1");
    let mut pull = in_store(&temp, &["pull", &name]).stdout(Stdio::null()).spawn().expect("run firn-image");
    let staged = || {
        let store = temp.path("store").read_dir().into_iter().flatten().flatten();
        let staging = store.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".layers.firn-image-"));
        staging.flat_map(|entry| entry.path().read_dir().into_iter().flatten().flatten()).map(|entry| entry.path())
    };
    // The list beside a layer is written when all of its files are there.
    until(|| staged().any(|path| path.extension().is_some_and(|extension| extension == "implicit")));
    let name = staged().map(|path| path.join("etc/name")).find(|path| path.exists()).expect("a layer");
    assert_eq!(std::fs::read_to_string(name).expect("read"), "one\n");
    until(|| staged().any(|path| path.join("large").metadata().is_ok_and(|meta| meta.len() > 1_000_000)));
    assert_eq!((asked.load(Ordering::Relaxed), pull.try_wait().expect("wait")), (1, None));
    assert_eq!(layers(&temp).len(), 0);
    temp.file("go", "", 0o644);
    assert!(pull.wait().expect("wait").success());
    assert_eq!(done(&temp, &["verify"]), "3 blobs, 2 unpacked layers verified\n");
}

/// What was unpacked of it while it came is not in the store.
#[test]
fn a_layer_of_a_bad_connection_is_whole_or_not_there() {
    for (number, (lie, count)) in
        [(Lie::Cut, 2), (Lie::CutWithoutRanges, 2), (Lie::OtherBytes, 1), (Lie::TooLong, 1)].into_iter().enumerate()
    {
        let temp = Temp::new(&format!("store-lie-{number}"));
        image(&temp);
        let (address, _) = crate::liar::serve(temp.path("made"), lie);
        let pulled = run(&temp, &["pull", &format!("{address}/x/web:1")]);
        assert_eq!(pulled.status.success(), count == 2, "{lie:?}: {}", text(&pulled.stderr));
        assert!(layers(&temp).len() <= count, "{lie:?}");
        let verified = done(&temp, &["verify"]);
        assert!(count == 1 || verified == "3 blobs, 2 unpacked layers verified\n", "{lie:?}: {verified}");
    }
}

/// Waits for something that another process does; the test fails if it does not happen.
fn until(mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < end, "it has not happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Killed at any time, gc leaves layers that are whole or gone.
#[test]
fn a_killed_gc_leaves_the_store_valid() {
    let temp = Temp::new("store-killed");
    let (_registry, name) = registry(&temp);
    let mut killed = 0;
    for step in 0..20_u64 {
        done(&temp, &["pull", &name]);
        done(&temp, &["remove", &name]);
        let mut child = in_store(&temp, &["gc"]);
        let mut child = child.stdout(Stdio::null()).spawn().expect("run firn-image");
        let end = Instant::now() + Duration::from_millis(5 * step);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        child.kill().expect("kill");
        let ended = child.wait().expect("wait").success();
        killed += u32::from(!ended);
        done(&temp, &["pull", &name]);
        done(&temp, &["verify"]);
        if ended {
            break;
        }
    }
    assert!(killed > 0);
}

#[test]
fn what_is_broken_is_found() {
    let temp = Temp::new("store-verify");
    let (_registry, name) = registry(&temp);
    done(&temp, &["pull", &name]);
    assert_eq!(done(&temp, &["verify"]), "3 blobs, 2 unpacked layers verified\n");
    let broken = |args: &[&str]| {
        let output = run(&temp, &[&["verify"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    let large = layers(&temp).into_iter().find(|layer| layer.join("large").exists()).expect("a layer");
    let small = layers(&temp).into_iter().find(|layer| !layer.join("large").exists()).expect("a layer");
    // A bit of the disk: neither the size nor the time has changed.
    let file = large.join("large");
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    let set = |byte: u8| {
        let opened = std::fs::File::options().write(true).open(&file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&opened, &[byte], 1000).unwrap();
        opened.set_modified(time).unwrap();
    };
    let right = std::fs::read(&file).unwrap()[1000];
    set(right ^ 1);
    let said = broken(&[]);
    assert!(said.contains("/large: its data are others") && said.contains(&large.display().to_string()), "{said}");
    assert_eq!(broken(&[&name]), said);
    set(right);
    done(&temp, &["verify", &name]);
    let top = std::fs::metadata(small.join("etc")).unwrap().modified().unwrap();
    std::fs::write(small.join("etc/added"), "").unwrap();
    std::fs::File::open(small.join("etc")).unwrap().set_modified(top).unwrap();
    assert!(broken(&[]).contains("/etc/added: it is not in the layer"));
    std::fs::remove_file(small.join("etc/added")).unwrap();
    assert!(broken(&[]).contains("/etc: its time is another"));
    std::fs::File::open(small.join("etc")).unwrap().set_modified(top).unwrap();
    done(&temp, &["verify"]);
    // Blobs: one byte, and one that is missing.
    let (manifest, _) = documents(&temp.path("store/images"), &name);
    let path = blob_path(&temp.path("store/images"), &manifest["layers"][0]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"other").unwrap();
    let said = broken(&[]);
    assert!(said.contains("its size is 5") && said.contains("can't be compared"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let facts: Value = serde_json::from_str(&broken(&["--json"])).expect("parse JSON");
    assert_eq!(facts["broken"][0]["what"], format!("blob {}", manifest["layers"][0]["digest"].as_str().unwrap()));
    // The next pull repairs the store.
    done(&temp, &["pull", &name]);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    done(&temp, &["verify"]);
    // Of what was unpacked from elsewhere there is no archive.
    done(&temp, &["remove", &name]);
    assert_eq!(
        done(&temp, &["verify"]),
        "0 blobs, 0 unpacked layers verified, 2 layers without an archive not compared\n"
    );
    // A corrupt manifest: nothing may be said of what it leads to.
    done(&temp, &["pull", &name]);
    let index = crate::fixture::json(&temp.path("store/images/index.json"));
    std::fs::write(blob_path(&temp.path("store/images"), &index["manifests"][0]), "{}").unwrap();
    let error = text(&run(&temp, &["gc"]).stderr);
    assert!(error.contains("firn-image verify"), "{error}");
    assert!(broken(&[]).contains("corrupt"));
    assert!(done(&temp, &["list"]).contains("corrupt"));
    assert_eq!(layers(&temp).len(), 2);
}

#[test]
fn a_layout_loses_what_no_image_of_it_leads_to() {
    let temp = Temp::new("store-layout");
    image(&temp);
    built(&temp, &["--layer", "root", "--output", "oci:made:old"]);
    temp.file("root/etc/name", "two\n", 0o644);
    built(&temp, &["--layer", "root", "--output", "oci:made:old"]);
    tool(&temp, "skopeo", &["copy", "--format", "v2s2", "oci:made:web", "oci:made:other"]);
    let listed: Value =
        serde_json::from_str(&success(&mut firn_image(&temp, &["list", "oci:made", "--json"]))).expect("parse JSON");
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let before = blobs(&temp.path("made")).len();
    let said = success(&mut firn_image(&temp, &["gc", "oci:made"]));
    // The manifest and the config of before; the layer is the one of `web`.
    assert_eq!(before - blobs(&temp.path("made")).len(), 2, "{said}");
    success(&mut firn_image(&temp, &["verify", "oci:made"]));
    success(&mut firn_image(&temp, &["remove", "oci:made:web", "oci:made:other"]));
    success(&mut firn_image(&temp, &["gc", "oci:made"]));
    assert_eq!(blobs(&temp.path("made")).len(), 3);
    tool(&temp, "umoci", &["unpack", "--image", "made:old", "unpacked"]);
    let refused = firn_image(&temp, &["gc", "oci:root"]).output().expect("run");
    assert!(!refused.status.success() && temp.path("root/etc/name").exists());
    let refused = firn_image(&temp, &["gc", "oci:made:old"]).output().expect("run");
    assert!(text(&refused.stderr).contains("without the name of an image"), "{}", text(&refused.stderr));
}

#[test]
fn a_pulled_image_is_pushed_under_another_name() {
    let temp = Temp::new("store-push");
    let (registry, name) = registry(&temp);
    let digest = done(&temp, &["pull", &name]);
    let other = format!("{}/y/web:2", registry.address);
    assert_eq!(done(&temp, &["push", &name, &other]), digest);
    // From x/web, from which it was fetched.
    assert_eq!(registry.requests("POST", "mount=").len(), 3);
    assert_eq!(copied(&temp, &format!("docker://{other}"), "oci:got:web").trim(), digest.trim());
    assert_eq!(done(&temp, &["push", &name]), digest);
    let error = text(&run(&temp, &["push", "nosuch"]).stderr);
    assert!(error.contains("no image \"docker.io/library/nosuch:latest\""), "{error}");
    let error = text(&run(&temp, &["pull", "oci:latest"]).stderr);
    assert!(error.contains("docker://NAME"), "{error}");
}
