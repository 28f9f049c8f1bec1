//! Files of the host by their handles: open_by_handle_at(2) takes no path, and so no view of a store
//! or root is in its way.

use firn_conformance::harness::bundle::image_bundle;
use firn_conformance::harness::place::binary;
use firn_conformance::harness::{Runtime, Scratch, busybox_root, command, skip};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A booted root whose init opens a store path outside its closure by each mount that it has of the
/// store's file system: store paths and the files at /run/host. With CAP_DAC_READ_SEARCH, which the call
/// takes; and with none of them where that is taken away again.
#[test]
fn a_booted_root_opens_nothing_outside_its_closure_by_handle() {
    let scratch = Scratch::new("handles");
    let path = |letter: char| format!("{}-x", letter.to_string().repeat(32));
    let store = scratch.directory("host/nix/store");
    let system = store.join(path('a'));
    busybox_root(&system);
    std::fs::copy(binary("firn-attacker"), system.join("bin/attacker")).unwrap();
    let outside = store.join(path('b'));
    std::fs::write(&outside, "secret\n").unwrap();
    let mut name = Command::new(binary("firn-attacker"));
    let handle = command(name.arg("handle").arg(&outside)).succeeds().stdout.trim().to_owned();
    let inside = format!("/nix/store/{}", path('a'));
    scratch.write("list", &inside);
    let init = system.join("init");
    let mounts = format!("{inside} /run/host/container-uuid /run/host/container-manager");
    let script = format!("#!{inside}/bin/sh\nexec {inside}/bin/attacker open-handle {handle} {mounts}\n");
    std::fs::write(&init, script).unwrap();
    std::fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).unwrap();
    let args = ["--closure", &inside, "--store", "host/nix/store", "--store-paths", "list"];
    let bundle = image_bundle(&scratch, &args);
    let edit = |name: &str, change: &dyn Fn(&mut Value)| {
        let file = bundle.join(name);
        let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(&file, value.to_string()).unwrap();
    };
    edit("config.json", &|config| {
        for set in ["bounding", "effective", "permitted"] {
            let list = config["process"]["capabilities"][set].as_array_mut().unwrap();
            list.push(json!("CAP_DAC_READ_SEARCH"));
        }
    });
    let firn = Runtime::firn(&scratch);
    let run = || firn.call(&["run", "--bundle", &bundle.to_string_lossy(), firn.id()]).succeeds().stdout;
    let denied: String =
        mounts.split(' ').map(|mount| format!("{mount}: Operation not permitted (os error 1)\n")).collect();
    assert_eq!(run(), denied);
    // By a mount for each store path, as on older kernels.
    edit("firn.json", &|config| drop(config["root"].as_object_mut().unwrap().remove("closureImage")));
    assert_eq!(run(), denied);
    // The attack works where nothing denies it.
    edit("config.json", &|config| drop(config["linux"].as_object_mut().unwrap().remove("seccomp")));
    let reached = run();
    if !has_handles(&reached) {
        skip("this file system opens no files by handles");
    } else {
        assert_eq!(reached, denied.replace("Operation not permitted (os error 1)", "secret"));
    }
    firn.left_nothing();
    assert!(Path::new(&outside).exists());
}

/// ESTALE, EOPNOTSUPP: of a file system such as an overlay without `nfs_export`.
fn has_handles(output: &str) -> bool {
    !output.contains("(os error 116)") && !output.contains("(os error 95)")
}
