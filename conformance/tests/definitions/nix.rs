//! Definitions in Nix: real Nix, and a nixpkgs of the tests' own whose systems need no stdenv.

use crate::host::Host;
use firn_conformance::harness::Output;
use firn_conformance::harness::place::program;
use std::path::PathBuf;

/// Guests have the tests' programs, and not their files.
const FILES: [(&str, &str); 3] = [
    ("lib/default.nix", include_str!("../../../nix/tests/lib.nix")),
    ("nixos/lib/eval-config.nix", include_str!("nixpkgs/eval-config.nix")),
    ("system.nix", include_str!("system.nix")),
];

/// A host with a nixpkgs.
struct Nix {
    host: Host,
}

impl Nix {
    fn new(test: &str) -> Self {
        let nix = Nix { host: Host::new(test) };
        let busybox = program("busybox", "busybox-static");
        program("nix-build", "nix-bin");
        for (path, content) in FILES {
            let content = content.replace("BUSYBOX", &format!("{:?}", busybox.to_str().unwrap()));
            nix.host.scratch.directory(&format!("nixpkgs/{}", path.rsplit_once('/').map_or("", |(parent, _)| parent)));
            nix.host.scratch.write(&format!("nixpkgs/{path}"), &content);
        }
        nix
    }

    /// `firnctl VERB` with that nixpkgs and the options that a machine without a Nix daemon needs.
    fn call(&self, arguments: &[&str]) -> Output {
        let nixpkgs = self.nixpkgs().display().to_string();
        let build = ["--option sandbox false", "--option substitute false"].join(" ");
        let mut all = arguments.to_vec();
        all.extend(["--nixpkgs-path", &nixpkgs, "--build-args"]);
        all.extend(build.split(' '));
        all.extend(["--option", "build-users-group", ""]);
        self.host.call(&all)
    }

    fn nixpkgs(&self) -> PathBuf {
        self.host.scratch.join("nixpkgs")
    }
}

#[test]
fn a_container_of_an_expression_is_built_and_started() {
    let nix = Nix::new("ctl-nix");
    let name = nix.host.name("a");
    let definition = |version: &str| {
        format!("{{ containers.{name} = {{ notify = false; config.test.version = \"{version}\"; }}; }}")
    };
    let create = |version: &str| nix.call(&["create", "-s", "-E", &definition(version)]).succeeds();
    assert!(create("one").stderr.contains("Building containers...\n"));
    nix.host.expect_log("a", "booted one\n");
    assert_eq!(create("one").stdout, format!("{name} (unchanged, skipped)\n"));
    // The system alone has changed.
    assert!(create("two").stderr.contains("updated"));
    assert_eq!(nix.host.exec("a", &["cat", "/switched"]), "test two\n");
    nix.host.leaves_nothing();
}
