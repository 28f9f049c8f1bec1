//! Definitions in Nix: real Nix, and a nixpkgs of the tests' own whose systems need no stdenv.

use crate::host::Host;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, command};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// Guests have the tests' programs, and not their files.
const FILES: [(&str, &str); 4] = [
    ("default.nix", include_str!("nixpkgs/default.nix")),
    ("lib/default.nix", include_str!("../../../nix/tests/lib.nix")),
    ("nixos/lib/eval-config.nix", include_str!("nixpkgs/eval-config.nix")),
    ("system.nix", include_str!("system.nix")),
];

/// A host with a nixpkgs.
pub struct Nix {
    pub host: Host,
}

impl Nix {
    pub fn new(test: &str) -> Self {
        let nix = Nix { host: Host::new(test) };
        let busybox = program("busybox", "busybox-static");
        program("nix-build", "nix-bin");
        for (path, content) in FILES {
            nix.host.scratch.directory(&format!("nixpkgs/{}", path.rsplit_once('/').map_or("", |(parent, _)| parent)));
            nix.host.scratch.write(&format!("nixpkgs/{path}"), content);
        }
        // The machine's own, so that what is made of it is built once.
        nix.host.scratch.write("nixpkgs/busybox.nix", &format!("{busybox:?}"));
        nix.host.scratch.write("nixpkgs/release.nix", "\"24.05\"");
        nix
    }

    /// The same for flakes, which see nothing but their own files.
    pub fn in_flake(test: &str) -> Self {
        let nix = Self::new(test);
        let copy = nix.host.scratch.join("nixpkgs/busybox");
        std::fs::copy(program("busybox", "busybox-static"), copy).unwrap();
        nix.host.scratch.write("nixpkgs/busybox.nix", "toString ./busybox");
        nix
    }

    /// `firnctl VERB` with the options that a machine without a Nix daemon needs.
    fn firnctl(&self, arguments: &[&str]) -> Command {
        let mut firnctl = self.host.firnctl(arguments);
        firnctl.args(["--build-args", "--option", "sandbox", "false", "--option", "substitute", "false"]);
        firnctl.args(["--option", "build-users-group", ""]);
        firnctl
    }

    /// The same with that nixpkgs.
    fn call(&self, arguments: &[&str]) -> Output {
        command(&mut self.firnctl(&[arguments, &["--nixpkgs-path", "./nixpkgs"]].concat()))
    }

    /// Writes a file of Nix in which `NAME` is the test's beginning of names.
    pub fn write(&self, file: &str, content: &str) {
        self.host.scratch.write(file, &content.replace("NAME", &self.host.scratch.id()));
    }
}

/// The systems that were evaluated, by their containers.
fn evaluated(output: &Output) -> Vec<&str> {
    let lines = output.stderr.lines().filter_map(|line| line.strip_prefix("trace: evaluated containers."));
    lines.collect()
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

#[test]
fn definitions_in_nix_come_from_everywhere() {
    let nix = Nix::new("ctl-nix-sources");
    let id = nix.host.scratch.id();
    nix.host.scratch.directory("d");
    nix.write("d/version", "of-a-file");
    nix.write(
        "d/default.nix",
        "{ lib, pkgs, ... }: {
           imports = [ ./more.nix ];
           containers.NAME-a = { privateNetwork = lib.mkIf true true; config.test.version = builtins.readFile ./version; };
         }",
    );
    nix.write("d/more.nix", "{ lib, ... }: { containers.NAME-a.hostname = lib.mkDefault \"web\"; }");
    nix.write("attr.nix", "{ x.\"y.z\" = import ./d; }");
    let definition = |output: Output| {
        let shown: Value = serde_json::from_str(&output.succeeds().stdout).unwrap();
        shown["containers"][format!("{id}-a")].clone()
    };
    let of_directory = definition(nix.call(&["config", "show", "--json", "d"]));
    assert_eq!((&of_directory["hostname"], &of_directory["privateNetwork"]), (&"web".into(), &true.into()));
    let path = of_directory["path"].as_str().unwrap();
    assert!(path.ends_with("-firn-test-system-of-a-file"), "{path}");
    // A look builds nothing.
    assert!(!std::path::Path::new(path).exists());
    for source in [
        &["d/default.nix"][..],
        &["attr.nix", "--attr", "x.\"y.z\""],
        &["-E", "import ./d"],
        &["-E", "{ a = import <pwd/d>; }", "-A", "a"],
        &["d", "--nixos-path", "<pwd/nixpkgs/nixos>"],
    ] {
        let shown = definition(nix.call(&[&["config", "show", "--json"], source].concat()));
        assert_eq!(shown, of_directory, "{source:?}");
    }
    let mut child = nix.firnctl(&["config", "show", "--json", "-", "--nixpkgs-path", "<pwd/nixpkgs>"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"import ./d").unwrap();
    let output = child.wait_with_output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["containers"][format!("{id}-a")], of_directory);
    nix.host.leaves_nothing();
}

#[test]
fn a_system_is_evaluated_again_where_what_it_reads_has_changed() {
    let nix = Nix::new("ctl-nix-cache");
    let id = nix.host.scratch.id();
    nix.host.scratch.directory("parts");
    nix.write(
        "web.nix",
        "{
           containers.NAME-web = { instances = 50; config = import ./web-system.nix; };
           containers.NAME-time = { config.test.version = builtins.substring 0 1 (toString (import ./now.nix)); };
         }",
    );
    nix.write("now.nix", "builtins.currentTime");
    nix.write(
        "web-system.nix",
        "let
           names = builtins.concatStringsSep \"-\" (builtins.attrNames (builtins.readDir ./parts));
           exists = toString (builtins.pathExists ./absent);
         in { test.version = builtins.readFile ./version + names + exists + builtins.getEnv \"FIRN_TEST_VERSION\"; }",
    );
    nix.write("version", "1");
    let create = |version: &str| {
        let mut firnctl = nix.firnctl(&["create", "web.nix", "--nixpkgs-path", "./nixpkgs"]);
        command(firnctl.env("FIRN_TEST_VERSION", version)).succeeds()
    };
    let web = format!("{id}-web, host ");
    let time = format!("{id}-time, host {id}-time");
    // Fifty containers, one system, which has the name of none.
    let first = create("");
    let mut systems = evaluated(&first);
    systems.sort_unstable();
    assert_eq!(systems, [&time[..], &web[..]]);
    assert_eq!(first.stdout.lines().count(), 51);
    // A file that was written just before Nix began is not known to be what Nix has read.
    create("");
    assert_eq!(evaluated(&create("")), [&time], "it depends on the time");
    let changes: [(&str, &dyn Fn()); 4] = [
        ("a file", &|| nix.write("version", "2")),
        ("a list of names", &|| nix.write("parts/x", "")),
        ("what was absent", &|| nix.write("absent", "")),
        ("code", &|| nix.write("web-system.nix", "{ test.version = \"fixed\"; }")),
    ];
    for (what, change) in changes {
        create("");
        change();
        assert_eq!(evaluated(&create("")).len(), 2, "{what}");
    }
    create("");
    assert_eq!(evaluated(&create("other")), [&time], "it reads no variable any more");
    nix.write("web-system.nix", "{ test.version = \"v\" + builtins.getEnv \"FIRN_TEST_VERSION\"; }");
    create("a");
    create("a");
    assert_eq!(evaluated(&create("a")), [&time]);
    assert_eq!(evaluated(&create("b")).len(), 2, "a variable");
    // A system that was collected is built again.
    let wanted = std::fs::read_to_string(nix.host.state("web-7").join("wanted.json")).unwrap();
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    let system = wanted["definition"]["path"].as_str().unwrap();
    assert!(system.ends_with("-firn-test-system-vb"), "{system}");
    for entry in std::fs::read_dir(nix.host.scratch.join("state/evaluations")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "system") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    command(Command::new(program("nix-store", "nix-bin")).args(["--delete", system])).succeeds();
    create("b");
    assert!(std::path::Path::new(system).join("init").exists());
    nix.host.leaves_nothing();
}

#[test]
fn mistakes_in_nix_are_told_with_their_place() {
    let nix = Nix::new("ctl-nix-mistakes");
    let id = nix.host.scratch.id();
    let error = |definition: &str| {
        let definition = definition.replace("NAME", &id);
        nix.call(&["create", "-s", "-E", &definition]).fails(1).stderr
    };
    let both = error(
        "{ containers.NAME-a.config.test.version = throw \"not that one\";
           containers.NAME-b.config = { test.nothing = 1; };
           containers.NAME-c.config = { }; }",
    );
    for part in [
        &format!("container {id}-a: Nix can't evaluate its system: "),
        "not that one",
        &format!("container {id}-b: Nix can't evaluate its system: "),
        "The option `containers.NAME-b.test.nothing' does not exist",
    ] {
        let part = part.replace("NAME", &id);
        assert!(both.contains(&part), "{part}: {both}");
    }
    let unknown = error("{ containers.NAME-a = { config = { }; hostAdress = \"10.0.0.1\"; }; }");
    assert!(unknown.contains(&format!("`containers.{id}-a.hostAdress' does not exist")), "{unknown}");
    let kind = error("{ containers.NAME-a = { config = { }; privateNetwork = 1; }; }");
    assert!(kind.contains(&format!("`containers.{id}-a.privateNetwork' is not of type")), "{kind}");
    // What the module system lets through, and firnctl does not.
    let meaning = error("{ containers.NAME-a = { config = { }; localAddress = \"10.0.0.1\"; }; }");
    assert!(meaning.contains(&format!("containers.{id}-a.localAddress: needs privateNetwork")), "{meaning}");
    let both = error("{ containers.NAME-a = { config = { }; path = \"/x\"; }; }");
    assert!(both.contains(&format!("containers.{id}-a: config and path are both set")), "{both}");
    let syntax = error("{ containers.NAME-a = { config = { }; };\n  oops }");
    assert!(syntax.contains("-E: Nix can't evaluate it: ") && syntax.contains(":2:8"), "{syntax}");
    nix.host.leaves_nothing();
}

#[test]
fn containers_of_a_system_of_nixos_are_installed_from_its_store_path() {
    let nix = Nix::new("ctl-nix-system");
    let id = nix.host.scratch.id();
    let host = &nix.host;
    // As NixOS writes them into /etc; the systems of two containers, built here.
    let empty = format!("{{ containers.{id}-a = {{ }}; }}");
    let shown = nix.call(&["config", "show", "--json", "-E", &empty]).succeeds().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let path = shown["containers"][format!("{id}-a")]["path"].as_str().expect("a system without a configuration");
    for version in ["one", "two"] {
        let etc = format!("{version}/etc/nixos-containers");
        host.scratch.directory(&etc);
        for name in ["a", "b"] {
            let memory = if version == "two" { "HOST_BRIDGE=\n" } else { "" };
            host.scratch.write(&format!("{etc}/{id}-{name}.conf"), &format!("SYSTEM_PATH={path}\n{memory}"));
        }
        host.scratch.write(&format!("{etc}/registries.conf"), "[registries]\n");
        // A later one is no other project.
        let created = host.call(&["create", version]).succeeds().stdout;
        assert_eq!(created, format!("{id}-a\n{id}-b\n"));
    }
    assert_eq!(host.call(&["destroy", "./two"]).succeeds().stdout, "");
    assert_eq!(host.call(&["list", "--json"]).succeeds().stdout.trim(), "[]");
    host.leaves_nothing();
}

/// As a configuration of NixOS would have it: what a text names is built, and stays.
#[test]
fn what_a_definition_names_of_the_store_is_built() {
    let nix = Nix::new("ctl-nix-named");
    let name = nix.host.name("a");
    nix.write("note", "a file\n");
    let made = format!(
        r#"derivation {{ name = "{name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo made > $out" ]; }}"#
    );
    let definition = format!(
        "{{ containers.{name} = {{ rootFS = [ ./root ]; bindMounts.\"/made\".hostPath = \"${{{made}}}\"; bindMounts.\"/note\".hostPath = \"${{./note}}\"; }}; }}"
    );
    let create = || command(&mut nix.firnctl(&["create", "-s", "-E", &definition])).succeeds();
    create();
    let read = || nix.host.exec("a", &["cat", "/made", "/note"]);
    assert_eq!(read(), "made\na file\n");
    // What was collected meanwhile is built again.
    nix.host.call(&["stop", &name]).succeeds();
    let path = command(
        Command::new("nix-store")
            .args(["--query", "--outputs"])
            .arg(command(Command::new("nix-instantiate").args(["-E", &made])).succeeds().stdout.trim()),
    )
    .succeeds()
    .stdout;
    let forget = |directory: &str| {
        for entry in std::fs::read_dir(nix.host.scratch.join(directory)).unwrap().flatten() {
            if std::fs::read_link(entry.path()).is_ok() {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    let delete = || command(Command::new("nix-store").args(["--delete", path.trim()]));
    forget("state/evaluations");
    // The generation that has run keeps it, to go back to.
    assert!(delete().fails(1).stderr.contains("still alive"));
    forget(&format!("state/containers/{name}/generations"));
    delete().succeeds();
    create();
    assert_eq!(read(), "made\na file\n");
    nix.host.leaves_nothing();
}

/// What services take their files for stays what it was when they began to write them.
#[test]
fn the_version_of_a_containers_state_is_that_of_its_first_start() {
    let nix = Nix::new("ctl-nix-state");
    let (kept, ephemeral, said) = (nix.host.name("kept"), nix.host.name("ephemeral"), nix.host.name("said"));
    let definition = format!(
        "{{ containers.{kept} = {{ notify = false; config = {{ }}; }};
            containers.{ephemeral} = {{ notify = false; ephemeral = true; config = {{ }}; }};
            containers.{said} = {{ notify = false; config.system.stateVersion = \"23.11\"; }}; }}"
    );
    let create = || nix.call(&["create", "-s", "-E", &definition]).succeeds();
    let version = |name: &str| {
        let script = "cd $(ls -dt /nix/store/*-firn-test-system-* | head -n 1) && cat nixos-version state-version";
        nix.host.exec(name, &["sh", "-c", script])
    };
    create();
    assert_eq!(version("kept"), "24.05.20990101.abcdef\n24.05\n");
    nix.host.scratch.write("nixpkgs/release.nix", "\"25.11\"");
    create();
    nix.host.call(&["restart", "--all"]).succeeds();
    assert_eq!(version("kept"), "25.11.20990101.abcdef\n24.05\n");
    assert_eq!(version("ephemeral"), "25.11.20990101.abcdef\n25.11\n");
    assert_eq!(version("said"), "25.11.20990101.abcdef\n23.11\n");
    assert!(create().stdout.contains("unchanged, skipped"));
    assert_eq!(evaluated(&create()), [] as [&str; 0], "both answers are kept");
    // A container that begins anew is of the release.
    nix.host.call(&["destroy", &kept]).succeeds();
    create();
    assert_eq!(version("kept"), "25.11.20990101.abcdef\n25.11\n");
    nix.host.leaves_nothing();
}
