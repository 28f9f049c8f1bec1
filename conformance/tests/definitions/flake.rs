//! Containers of a flake: the outputs that `lib.makeContainers` makes, built by real Nix and run.

use crate::documents::blocks;
use crate::nix::Nix;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, binary, command};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Guests have the tests' programs, and not their files.
const FIRN: [(&str, &str); 8] = [
    ("flake.nix", include_str!("../../../flake.nix")),
    ("nix/base.nix", include_str!("../../../nix/base.nix")),
    ("nix/options.nix", include_str!("../../../nix/options.nix")),
    ("nix/schema.json", include_str!("../../../nix/schema.json")),
    ("nix/eval/default.nix", include_str!("../../../nix/eval/default.nix")),
    ("nix/flake-module/containers.nix", include_str!("../../../nix/flake-module/containers.nix")),
    ("nix/flake-module/default.nix", include_str!("../../../nix/flake-module/default.nix")),
    ("nix/flake-module/outputs.nix", include_str!("../../../nix/flake-module/outputs.nix")),
];

/// A project whose flake defines containers.
struct Project {
    nix: Nix,
}

impl Project {
    fn new(test: &str, containers: &str) -> Self {
        let project = Self::with_firn(test);
        // As with inputs, which are fetched: nothing is here.
        project.nix.write(
            "flake.nix",
            &format!(
                "{{
                   outputs = {{ self }}:
                     let firn = (import ./firn/flake.nix).outputs {{ self = firn; }}; in
                     firn.lib.makeContainers {{
                       nixpkgs = ./nixpkgs;
                       systems = [ \"x86_64-linux\" ];
                       package = _: null;
                       containers = {containers};
                     }};
                 }}"
            ),
        );
        project
    }

    /// Without a flake.nix so far.
    fn with_firn(test: &str) -> Self {
        let project = Project { nix: Nix::in_flake(test) };
        for directory in ["nix/eval", "nix/flake-module"] {
            project.nix.host.scratch.directory(&format!("firn/{directory}"));
        }
        for (path, content) in FIRN {
            project.nix.write(&format!("firn/{path}"), content);
        }
        project
    }

    /// `nix VERB`, in the project's directory.
    fn nix(&self, arguments: &[&str]) -> Output {
        let mut nix = Command::new(program("nix", "nix-bin"));
        nix.current_dir(self.nix.host.scratch.path());
        nix.args(["--extra-experimental-features", "nix-command flakes", "--option", "sandbox", "false"]);
        nix.args(["--option", "substitute", "false", "--option", "build-users-group", ""]).args(arguments);
        command(&mut nix)
    }

    /// Builds one of its commands; where that is.
    fn build(&self, name: &str) -> PathBuf {
        let built = self.nix(&["build", "--no-link", "--json", &format!("path:.#{name}")]).succeeds().stdout;
        let built: Value = serde_json::from_str(&built).unwrap();
        PathBuf::from(built[0]["outputs"]["out"].as_str().unwrap()).join("bin").join(name)
    }

    /// Runs such a command below the project.
    fn run(&self, program: &PathBuf, arguments: &[&str]) -> Output {
        let firnctl = binary("firnctl");
        let path = format!("{}:{}", firnctl.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut run = Command::new(program);
        run.env("PATH", path).current_dir(self.nix.host.scratch.directory("below/it")).args(arguments);
        command(&mut run)
    }

    fn firnctl(&self, arguments: &[&str]) -> Output {
        let mut firnctl = Command::new(binary("firnctl"));
        command(
            firnctl.args(["--hosts-file", "/dev/null", "--project"]).arg(self.nix.host.scratch.path()).args(arguments),
        )
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.firnctl(&["destroy", "--all"]);
    }
}

#[test]
fn containers_of_a_flake_are_commands_of_its_project() {
    let project = Project::new(
        "ctl-flake",
        "{
           NAME-api.configuration = { lib, ... }: { test.version = lib.mkForce \"api\"; };
           NAME-job = { configuration = { }; runCommand = pkgs: \"echo runs; while :; do sleep 60 & wait $!; done\"; privateNetwork = false; };
           NAME-web = {
             configuration.test.version = \"web\";
             privateNetwork = false;
             dependsOn = [ \"NAME-job\" ];
             notify = false;
             volumes = [ \"./data:/data\" ];
           };
         }",
    );
    let id = project.nix.host.scratch.id();
    let show = project.nix(&["flake", "show", "path:."]).succeeds();
    for name in ["api", "job", "web"] {
        for verb in ["up", "down", "shell", "logs"] {
            assert!(show.stdout.contains(&format!("package '{id}-{name}-{verb}'")), "{}", show.stdout);
        }
    }
    assert!(show.stdout.contains("development environment"), "{}", show.stdout);
    assert!(!show.stderr.contains("trace: evaluated"), "no system is evaluated: {}", show.stderr);

    // What firnctl is told of one: itself and what it needs, with addresses by the order of the names.
    let definition = |up: &PathBuf| -> Value {
        let script = std::fs::read_to_string(up).unwrap();
        let file = script.split_whitespace().find(|word| word.ends_with(".json")).unwrap();
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    let api = definition(&project.build(&format!("{id}-api-up")));
    let containers = api["containers"].as_object().unwrap();
    assert_eq!(containers.keys().collect::<Vec<_>>(), [&format!("{id}-api")]);
    let api = &containers[&format!("{id}-api")];
    assert!(api["path"].as_str().unwrap().ends_with("-firn-test-system-api"), "{api}");
    assert_eq!((&api["hostAddress"], &api["localAddress"]), (&"10.233.1.1".into(), &"10.233.1.2".into()));

    let host = &project.nix.host;
    host.scratch.directory("data");
    host.scratch.write("data/file", "of the project\n");
    let build = |name: &str| project.build(&format!("{id}-web-{name}"));
    let (up, down, shell, logs) = (build("up"), build("down"), build("shell"), build("logs"));
    project.run(&up, &["--detach", "--hosts-file", "/dev/null"]).succeeds();
    let list = project.firnctl(&["list", "--json"]).succeeds().stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("{id}-job"), format!("{id}-web")]);
    assert_eq!(
        project.run(&shell, &["sh", "-c", "read line < /data/file; echo $line"]).succeeds().stdout,
        "of the project\n"
    );
    assert!(project.run(&logs, &[]).succeeds().stdout.contains("booted web\n"));
    assert_eq!(project.firnctl(&["logs", &format!("{id}-job")]).succeeds().stdout, "runs\n");
    assert!(host.scratch.join(&format!(".firn/containers/{id}-web/wanted.json")).exists());
    assert_eq!(std::fs::read_to_string(host.scratch.join(".firn/.gitignore")).unwrap(), "*\n");
    project.run(&down, &[]).succeeds();
    assert_eq!(project.firnctl(&["status", &format!("{id}-web")]).succeeds().stdout, "down\n");
    // Elsewhere it says where to call it.
    let mut elsewhere = Command::new(&up);
    assert!(command(elsewhere.current_dir("/")).fails(1).stderr.contains("there is no flake.nix in / or above"));
    project.firnctl(&["destroy", "--all"]).succeeds();
}

/// As an ordinary user, who has a store of their own: root is needed for containers that run, and by no more.
#[test]
fn a_flake_is_shown_and_developed_by_an_ordinary_user() {
    let project = Project::new("ctl-flake-user", "{ NAME-web.configuration = { }; }");
    let id = project.nix.host.scratch.id();
    let home = project.nix.host.scratch.path().display().to_string();
    let script = format!(
        "cd {home} && export HOME={home} NIX_STATE_DIR={home}/var NIX_LOG_DIR={home}/log NIX_CONFIG='sandbox = false
substitute = false
experimental-features = nix-command flakes' && nix flake show --store {home}/store path:{home}"
    );
    std::os::unix::fs::chown(project.nix.host.scratch.path(), Some(65534), Some(65534)).unwrap();
    let mut user = Command::new(program("setpriv", "util-linux"));
    user.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "sh", "-c", &script]);
    let shown = command(&mut user).succeeds();
    assert!(shown.stdout.contains(&format!("package '{id}-web-up'")), "{}", shown.stdout);
    assert!(!shown.stderr.contains("trace: evaluated"), "{}", shown.stderr);
    std::os::unix::fs::chown(project.nix.host.scratch.path(), Some(0), Some(0)).unwrap();
    std::fs::remove_dir_all(project.nix.host.scratch.join("store")).unwrap();

    // The commands are in PATH.
    let develop = ["develop", "path:.#flake-containers", "--command"];
    let found = project
        .nix(&[&develop[..], &["sh", "-c", &format!("command -v {id}-web-up && command -v {id}-web-logs")]].concat());
    let places: Vec<String> = found.succeeds().stdout.lines().map(String::from).collect();
    assert_eq!(places.len(), 2);
    assert!(places[0].ends_with(&format!("/bin/{id}-web-up")), "{places:?}");
}

#[test]
fn flake_parts_has_the_same() {
    let project = Project::with_firn("ctl-flake-parts");
    let id = project.nix.host.scratch.id();
    let module = blocks(include_str!("../../../docs/flakes.md"), "nix")[1]
        .replacen("enable = true;", "enable = true; package = null;", 1)
        .replace("web.configuration", &format!("{id}-web.configuration"));
    project.nix.write("flake-parts.nix", include_str!("nixpkgs/flake-parts.nix"));
    let flake = |module: &str| {
        format!(
            "{{
               outputs = {{ self }}:
                 let
                   firn = (import ./firn/flake.nix).outputs {{ self = firn; }};
                   inputs = {{ inherit firn; nixpkgs = ./nixpkgs; }};
                 in
                 import ./flake-parts.nix {{ nixpkgs = ./nixpkgs; inherit inputs; systems = [ \"x86_64-linux\" ]; }} {module};
             }}"
        )
    };
    project.nix.write("flake.nix", &flake(&module));
    let shown = project.nix(&["flake", "show", "path:."]).succeeds();
    assert!(!shown.stderr.contains("trace: evaluated"), "{}", shown.stderr);
    assert!(shown.stdout.contains("development environment"), "{}", shown.stdout);
    for verb in ["up", "down", "shell", "logs"] {
        assert!(shown.stdout.contains(&format!("package '{id}-web-{verb}'")), "{}", shown.stdout);
    }
    let built = project.build(&format!("{id}-web-up"));
    assert!(std::fs::read_to_string(&built).unwrap().contains("--only"));
    // By the name that flake-containers has for its options.
    project.nix.write("flake.nix", &flake(&module.replace("  firn = {", "  flake-containers = {")));
    assert!(project.build(&format!("{id}-web-up")).exists());
}

#[test]
fn a_system_may_be_a_flakes() {
    let nix = Nix::in_flake("ctl-flake-option");
    let flake = "{
      outputs = { self }: {
        nixosConfigurations.\"of.it\" = import ./nixpkgs/nixos/lib/eval-config.nix {
          system = \"x86_64-linux\";
          modules = [ { boot.isContainer = true; networking.hostName = \"x\"; test.version = \"flake\"; } ];
        };
      };
    }";
    nix.write("flake.nix", flake);
    let name = nix.host.name("a");
    nix.host.scratch.write(
        "firn.json",
        &serde_json::json!({"containers": {&name: {"flake": "path:.#of.it", "notify": false}}}).to_string(),
    );
    let mut up = nix.host.firnctl(&["up", "--detach", "firn.json"]);
    up.env("NIX_CONFIG", "sandbox = false\nsubstitute = false\nbuild-users-group =");
    command(&mut up).succeeds();
    nix.host.expect_log("a", "booted flake\n");
    nix.host.leaves_nothing();
}

#[test]
fn what_flake_users_read_is_so() {
    let document = include_str!("../../../docs/flakes.md");
    let project = Project::with_firn("ctl-flake-documents");
    let id = project.nix.host.scratch.id();
    let path = project.nix.host.scratch.path().display().to_string();
    // Inputs that are here, names of the test's own, and systems that say nothing when they are ready.
    let flake = blocks(document, "nix")[0]
        .replace(
            "inputs.nixpkgs.url = \"nixpkgs\"",
            &format!("inputs.nixpkgs = {{ url = \"path:{path}/nixpkgs\"; flake = false; }}"),
        )
        .replace("inputs.firn.url = \"…\"", &format!("inputs.firn.url = \"path:{path}/firn\""))
        .replace("inherit nixpkgs;", "inherit nixpkgs; package = _: null;")
        .replace("dependsOn = [ \"db\" ]", &format!("dependsOn = [ \"{id}-db\" ]"))
        .replace("db = {", &format!("{id}-db = {{ privateNetwork = false; notify = false;"))
        .replace("web = {", &format!("{id}-web = {{ privateNetwork = false; notify = false;"));
    project.nix.write("flake.nix", &flake);
    project.nix.host.scratch.directory("data");
    let [commands] = blocks(document, "sh")[..] else { panic!("one block of commands") };
    let shown = project.nix(&["flake", "show", "path:."]).succeeds();
    assert!(!shown.stderr.contains("trace: evaluated"), "{}", shown.stderr);
    let runs = commands.lines().filter_map(|line| line.split('#').nth(1).filter(|_| line.starts_with("nix run")));
    let runs: Vec<Vec<String>> = runs.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    // All are built before there is state, which is in the flake where it is no git repository.
    let built: Vec<PathBuf> = runs.iter().map(|run| project.build(&format!("{id}-{}", run[0]))).collect();
    let mut ran = Vec::new();
    for (run, built) in runs.iter().zip(&built) {
        let mut arguments: Vec<&str> = run.iter().skip(2).map(String::as_str).collect();
        match (run[0].as_str(), arguments.as_slice()) {
            // In the foreground, and with a terminal.
            ("web-up" | "web-shell", []) => continue,
            ("web-up", _) => arguments.extend(["--hosts-file", "/dev/null"]),
            ("web-logs", _) => arguments.clear(),
            ("web-shell", _) => arguments = vec!["sh", "-c", "echo inside"],
            _ => {}
        }
        ran.push(project.run(built, &arguments).succeeds().stdout);
    }
    assert_eq!(ran.len(), 4, "{runs:?}");
    assert_eq!(ran[1], "inside\n");
    assert!(ran[2].contains("booted one\n"), "{}", ran[2]);
    assert_eq!(project.firnctl(&["status", &format!("{id}-web")]).succeeds().stdout, "down\n");
    assert_eq!(project.firnctl(&["status", &format!("{id}-db")]).succeeds().stdout, "up\n");
    project.firnctl(&["destroy", "--all"]).succeeds();
}
