//! The package of firn, with a buildRustPackage that gives back what it is called with.

use crate::evaluate::nix;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_package_builds_all_programs_from_a_whole_workspace() {
    let found = nix("let package = import (nix + \"/package.nix\") {
           inherit lib;
           rustPlatform.buildRustPackage = package: package;
           stdenv.cc.libc.static = \"/nix/store/glibc-static\";
         };
         in removeAttrs package [ \"cargoLock\" \"meta\" ] // { src = \"${package.src}\"; }");
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));

    // What the programs are built from is all there.
    let source = found["src"].as_str().expect("a path");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path"]);
    let output = cargo.arg(format!("{source}/Cargo.toml")).output().expect("run cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages: BTreeSet<&str> = metadata["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let flags: Vec<&str> =
        found["cargoBuildFlags"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let built: BTreeSet<&str> = flags.iter().filter_map(|flag| flag.strip_prefix("--package=")).collect();
    // The others are of tests and benchmarks.
    let others = ["firn-bench", "firn-conformance", "firn-floor"].into_iter().collect();
    assert_eq!(packages.difference(&built).copied().collect::<BTreeSet<_>>(), others);
    for file in ["docs/firn-init.1", "ctl/firn@.service", "nix/eval/default.nix", "Cargo.lock"] {
        assert!(std::path::Path::new(source).join(file).exists(), "{file}");
    }
    for not in [".git", "target", "docs/nixos.md"] {
        assert!(!std::path::Path::new(source).join(not).exists(), "{not}");
    }
}
