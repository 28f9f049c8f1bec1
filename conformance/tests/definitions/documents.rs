//! The examples of the documents for those who write Nix, run as they stand there.

use crate::nix::Nix;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, binary, command};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The blocks of a document in a language.
pub fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let parts = document.split("```").skip(1).step_by(2);
    parts.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// A shell in which `firnctl` has directories of its own, and `<nixpkgs>` is that of the tests.
fn shell(nix: &Nix, script: &str) -> Output {
    nix.host.scratch.directory("bin");
    let firnctl = binary("firnctl");
    let places = "--state-dir state --run-dir run --hosts-file hosts --authorized-keys authorized_keys";
    let wrapper = format!("#!/bin/sh\nexec {} {places} \"$@\"\n", firnctl.display());
    let wrapper = nix.host.scratch.write("bin/firnctl", &wrapper);
    std::fs::set_permissions(wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", nix.host.scratch.join("bin").display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new(program("bash", "bash"));
    shell.args(["-euc", script]).current_dir(nix.host.scratch.path()).env("PATH", path);
    shell.env("NIX_PATH", format!("nixpkgs={}", nix.host.scratch.join("nixpkgs").display()));
    shell.env("NIX_CONFIG", "sandbox = false\nsubstitute = false\nbuild-users-group =");
    command(&mut shell)
}

#[test]
fn what_extra_containers_users_read_is_so() {
    let nix = Nix::new("ctl-documents");
    let name = nix.host.name("demo");
    let document = include_str!("../../../docs/extra-container.md");
    // The tests' systems say nothing when they are ready.
    let own = |text: &str| {
        text.replace("containers.demo = {", &format!("containers.{name} = {{ notify = false;"))
            .replace(
                "containers.demo.config",
                &format!("containers.{name} = {{ notify = false; }}; containers.{name}.config"),
            )
            .replace(" demo", &format!(" {name}"))
            .replace(&format!("{name}.nix"), "demo.nix")
    };
    let files = blocks(document, "nix");
    nix.host.scratch.write("demo.nix", &own(files[0]));
    let [commands] = blocks(document, "sh")[..] else { panic!("one block of commands") };
    let said: Vec<String> = commands.lines().map(|line| shell(&nix, &own(line)).succeeds().stdout).collect();
    assert_eq!(said[1], format!("{name} (unchanged, skipped)\n"));
    assert_eq!(said[2], "inside\n");
    assert!(said[3].contains(&name) && said[3].contains("up"), "{}", said[3]);
    assert_eq!(said[6], "once\n");
    assert_eq!(said[7], format!("{name}\n"));
    // What Nix code calls.
    let expression = files[1].replace("firn.lib.evalContainers", "import ./eval/default.nix");
    nix.host.scratch.directory("eval");
    nix.host.scratch.write("eval/default.nix", include_str!("../../../nix/eval/default.nix"));
    nix.host.scratch.write("options.nix", include_str!("../../../nix/options.nix"));
    nix.host.scratch.write("base.nix", include_str!("../../../nix/base.nix"));
    nix.host.scratch.write("schema.json", include_str!("../../../nix/schema.json"));
    let evaluate = format!("nix-instantiate --eval --strict --json -E 'with {{ nixpkgs = <nixpkgs>; }}; {expression}'");
    let definitions = shell(&nix, &evaluate).succeeds().stdout;
    let definitions: serde_json::Value = serde_json::from_str(&definitions).unwrap();
    assert!(definitions["containers"][&name]["path"].as_str().unwrap().starts_with("/nix/store/"), "{definitions}");
    nix.host.leaves_nothing();
}
