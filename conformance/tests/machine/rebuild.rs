//! Containers of a NixOS host's configuration, through rebuilds: the units and definitions that our module makes,
//! evaluated by real Nix, and what NixOS's `switch-to-configuration` does with units that have changed.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, Scratch, binary, command, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

macro_rules! files {
    ($($path:literal),* $(,)?) => { [$(($path, include_str!(concat!("../../../", $path)))),*] };
}

/// Guests have the tests' programs, and not their files.
const FILES: [(&str, &str); 27] = files![
    "ctl/firn@.service",
    "ctl/firn-network.service",
    "ctl/firn-network.socket",
    "nix/base.nix",
    "nix/options.nix",
    "nix/schema.json",
    "nix/nixos/container.nix",
    "nix/nixos/containers.nix",
    "nix/nixos/default.nix",
    "nix/nixos/definitions.nix",
    "nix/nixos/live.nix",
    "nix/nixos/mistakes.nix",
    "nix/nixos/names.nix",
    "nix/nixos/network.nix",
    "nix/nixos/nspawn-flags.nix",
    "nix/nixos/oci.nix",
    "nix/nixos/ssh.nix",
    "nix/nixos/take-over.nix",
    "nix/nixos/units.nix",
    "nix/tests/host.nix",
    "nix/tests/lib.nix",
    "nix/tests/nixpkgs/lib.nix",
    "nix/tests/nixpkgs/nixos/lib/eval-config.nix",
    "nix/tests/nixpkgs/nixos/options.nix",
    "nix/tests/nixpkgs/nixos/pkgs.nix",
    "conformance/tests/definitions/system.nix",
    "nix/package.nix",
];

const UNITS: &str = "/run/systemd/system";
/// Where NixOS has the programs of its system.
const PROGRAMS: &str = "/run/current-system/sw/bin";

/// What a host's configuration comes to.
#[derive(Default)]
struct Configuration {
    definitions: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
    /// Other names of units.
    aliases: BTreeMap<String, String>,
}

impl Configuration {
    fn text(&self, unit: &str) -> Option<&String> {
        self.units.get(self.aliases.get(unit).map_or(unit, String::as_str))
    }
}

struct Host {
    scratch: Scratch,
}

impl Host {
    fn new(test: &str) -> Self {
        assert!(Path::new(UNITS).exists(), "these tests run in guests: cargo xtask vm");
        let host = Host { scratch: Scratch::new(test) };
        for (path, content) in FILES {
            host.scratch.directory(path.rsplit_once('/').map_or("", |(parent, _)| parent));
            host.scratch.write(path, content);
        }
        std::fs::create_dir_all(PROGRAMS).unwrap();
        let ours = ["firn", "firn-image", "firn-init", "firn-shim", "firnctl", "firn-network"].map(binary);
        let others = [("nix-store", "nix-bin"), ("nft", "nftables")].map(|(name, package)| program(name, package));
        for path in ours.into_iter().chain(others) {
            // Another test may have made it.
            let _ = std::os::unix::fs::symlink(&path, Path::new(PROGRAMS).join(path.file_name().unwrap()));
        }
        host
    }

    fn name(&self) -> String {
        format!("{}-web", self.scratch.id())
    }

    /// The unit that hands the definitions over.
    fn declare(&self) -> String {
        format!("{}-declare.service", self.scratch.id())
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc").join(self.scratch.id())
    }

    fn nixos_unit(&self) -> String {
        format!("container@{}.service", self.name())
    }

    fn unit(&self) -> String {
        format!("firn@{}.service", self.name())
    }

    /// Calls a program of Nix, without a daemon.
    fn nix(&self, name: &str, arguments: &[&str]) -> String {
        let mut nix = Command::new(program(name, "nix-bin"));
        nix.args(["--option", "sandbox", "false", "--option", "substitute", "false"]);
        nix.args(["--option", "build-users-group", ""]).args(arguments);
        command(&mut nix).succeeds().stdout
    }

    /// Builds a system; its store path.
    fn system(&self, version: &str) -> String {
        let busybox = program("busybox", "busybox-static");
        let file = self.scratch.join("conformance/tests/definitions/system.nix");
        let words = [file.to_str().unwrap(), "--no-out-link", "--argstr", "version", version, "--argstr", "busybox"];
        self.nix("nix-build", &[&words[..], &[busybox.to_str().unwrap()]].concat()).trim().to_owned()
    }

    /// What configurations come to, each of which is a module.
    fn configurations(&self, modules: &[String]) -> Vec<Configuration> {
        let host = self.scratch.join("nix/tests/host.nix");
        let text = format!(
            "map (module: let host = import {} module; in
               assert host.mistakes == [ ]; {{
                 inherit (host) definitions units;
                 aliases = (host.config.systemd.services.\"firn@{}\" or {{ }}).aliases or [ ];
               }}) [ {} ]",
            host.display(),
            self.name(),
            modules.join(" ")
        );
        let evaluate = ["--eval", "--strict", "--json", "--read-write-mode", "--expr", &text];
        // Of what a machine has one of, each test has its own.
        let found = self
            .nix("nix-instantiate", &evaluate)
            .replace("firn/containers", &format!("{}/containers", self.scratch.id()))
            .replace("firn-declare.service", &self.declare());
        let found: Value = serde_json::from_str(&found).unwrap();
        let texts = |value: &Value| {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
        };
        let of = |found: &Value| {
            let mut units: BTreeMap<_, _> = texts(&found["units"]);
            // Other tests have these too, with paths of their own.
            units.retain(|name, _| *name == self.unit() || *name == self.declare());
            let aliases = found["aliases"].as_array().unwrap().iter();
            let aliases = aliases.map(|alias| (alias.as_str().unwrap().to_owned(), self.unit())).collect();
            Configuration { definitions: texts(&found["definitions"]), units, aliases }
        };
        found.as_array().unwrap().iter().map(of).collect()
    }

    /// The module of a host with the container.
    fn module(&self, system: &str, more: &str) -> String {
        format!("({{ firn.containers.\"{}\" = {{ path = \"{system}\"; notify = false; {more} }}; }})", self.name())
    }

    /// `switch-to-configuration`, as far as units go: what is gone is stopped, then files are changed. Of the units
    /// that are active and differ, those are reloaded that differ in X-Reload-Triggers= alone, and the others
    /// restarted, but for those that say X-RestartIfChanged=false. What was done, and whether it has failed, which
    /// is its exit status 4.
    fn switch(&self, from: &Configuration, to: &Configuration) -> (Vec<String>, bool) {
        let is_active = |unit: &str| systemctl(&["is-active", "--quiet", unit]).code == 0;
        let mut jobs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut is_failed = false;
        for (unit, old) in from.units.iter().filter(|(unit, _)| is_active(unit)) {
            let without_triggers =
                |text: &str| text.lines().filter(|line| !line.starts_with("X-Reload-Triggers=")).collect::<String>();
            match to.text(unit) {
                None => is_failed |= !systemctl(&["stop", unit]).code == 0,
                Some(new) if new == old => {}
                Some(new) if without_triggers(new) == without_triggers(old) => {
                    jobs.entry("reload").or_default().push(unit);
                }
                Some(new) if new.contains("\nX-RestartIfChanged=false\n") => {}
                Some(_) => jobs.entry("restart").or_default().push(unit),
            }
        }
        for alias in from.aliases.keys() {
            std::fs::remove_file(Path::new(UNITS).join(alias)).unwrap();
        }
        for (directory, old, new) in [("/etc", &from.definitions, &to.definitions), (UNITS, &from.units, &to.units)] {
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                std::fs::remove_file(Path::new(directory).join(name)).unwrap();
            }
            for (name, text) in new {
                std::fs::create_dir_all(self.etc().join("containers")).unwrap();
                std::fs::write(Path::new(directory).join(name), text).unwrap();
            }
        }
        for (alias, unit) in &to.aliases {
            let _ = std::fs::remove_file(Path::new(UNITS).join(alias));
            std::os::unix::fs::symlink(unit, Path::new(UNITS).join(alias)).unwrap();
        }
        systemctl(&["daemon-reload"]).succeeds();
        // Reloads come first there, too.
        for (verb, units) in &jobs {
            is_failed |= !systemctl(&[&[*verb], &units[..]].concat()).code == 0;
        }
        let done = jobs.iter().flat_map(|(verb, units)| units.iter().map(move |unit| format!("{verb} {unit}")));
        (done.map(|job| job.replace(&self.unit(), "web")).collect(), is_failed)
    }

    fn firnctl(&self, args: &[&str]) -> Output {
        command(Command::new(binary("firnctl")).args(args))
    }

    fn listed(&self) -> Option<Value> {
        let list: Value = serde_json::from_str(&self.firnctl(&["list", "--json"]).succeeds().stdout).unwrap();
        let mut all = list.as_array().unwrap().iter();
        all.find(|container| container["name"] == *self.name()).cloned()
    }

    fn pid(&self) -> u64 {
        self.listed().and_then(|container| container["pid"].as_u64()).expect("it runs")
    }

    fn pending(&self) -> Value {
        self.listed().expect("it is installed")["pending"].clone()
    }

    fn sh(&self, script: &str) -> String {
        self.firnctl(&["exec", &self.name(), "sh", "-c", script]).succeeds().stdout
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        systemctl(&["stop", &self.unit(), &self.nixos_unit(), &self.declare()]);
        let _ = std::fs::remove_dir_all(self.etc());
        for unit in [self.unit(), self.nixos_unit(), self.declare()] {
            let _ = std::fs::remove_file(Path::new(UNITS).join(unit));
        }
        systemctl(&["daemon-reload"]);
        self.firnctl(&["destroy", &self.name()]);
    }
}

fn systemctl(args: &[&str]) -> Output {
    command(Command::new("systemctl").args(args))
}

#[test]
fn a_rebuild_updates_a_system_live_and_restarts_for_what_else_has_changed() {
    let host = Host::new("rebuild");
    let (one, two) = (host.system("one"), host.system("two"));
    let keeps = "restartIfChanged = false;";
    let found = host.configurations(&[
        "{ }".into(),
        host.module(&one, ""),
        host.module(&two, ""),
        host.module(&two, "memory = \"64M\";"),
        host.module(&two, "memory = \"64M\"; hostname = \"x\";"),
        host.module(&two, &format!("memory = \"64M\"; hostname = \"y\"; {keeps}")),
        host.module(&one, &format!("memory = \"64M\"; hostname = \"y\"; {keeps}")),
    ]);
    let [nothing, first, updated, limited, renamed, kept, both] = &found[..] else { panic!("seven") };
    assert_eq!(nothing.units.len(), 0);
    let declare = || format!("restart {}", host.declare());
    let done = |words: &[&str]| (words.iter().map(|word| (*word).to_owned()).chain([declare()]).collect(), false);

    assert_eq!(host.switch(nothing, first), (vec![], false));
    systemctl(&["start", &host.unit()]).succeeds();
    let pid = host.pid();
    assert_eq!(host.sh("test -e /switched || echo booted"), "booted\n");

    // Its system alone.
    assert_eq!(host.switch(first, updated), done(&["reload web"]));
    assert_eq!((host.pid(), host.sh("cat /switched")), (pid, "test two\n".into()));
    assert_eq!(host.pending(), Value::Null);
    // A limit.
    assert_eq!(host.switch(updated, limited), done(&["reload web"]));
    assert_eq!(host.pid(), pid);
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let limit = format!("/sys/fs/cgroup{}/memory.max", cgroup.trim().trim_start_matches("0::"));
    assert_eq!(std::fs::read_to_string(&limit).unwrap(), "67108864\n", "{limit}");

    // What takes a restart.
    let (jobs, is_failed) = host.switch(limited, renamed);
    assert_eq!((jobs, is_failed), (vec![declare(), "restart web".into()], false));
    assert_ne!(host.pid(), pid);
    assert_eq!(host.sh("hostname"), "x\n");

    // What takes one, and shall get none: pending, and no failure of the rebuild.
    let pid = host.pid();
    assert_eq!(host.switch(renamed, kept), done(&[]));
    assert_eq!((host.pid(), host.pending()), (pid, "restart".into()));
    assert_eq!(host.switch(kept, both), done(&["reload web"]));
    assert_eq!((host.pid(), host.pending()), (pid, "restart".into()));
    assert_eq!(host.sh("hostname; cat /switched"), "x\ntest two\n");
    systemctl(&["restart", &host.unit()]).succeeds();
    assert_eq!((host.sh("hostname"), host.pending()), ("y\n".into(), Value::Null));

    // One that is gone is stopped, and keeps its files.
    assert!(!host.switch(both, nothing).1);
    wait_until("it has ended", || host.listed().is_none());
    let root = Path::new("/var/lib/firnctl/containers").join(host.name()).join("root/upper/switched");
    assert_eq!(std::fs::read_to_string(root).unwrap(), "test two\n");
}

/// As NixOS has its container: run by systemd-nspawn, in a unit of its own.
#[test]
fn nixos_own_container_is_taken_over_with_its_files_and_given_back() {
    let host = Host::new("rebuild-taken");
    let (name, system) = (host.name(), host.system("one"));
    let root = Path::new("/var/lib/nixos-containers").join(&name);
    for directory in ["usr/bin", "etc", "var/lib"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("etc/os-release"), "").unwrap();
    let nspawn = program("systemd-nspawn", "systemd-container");
    let text = format!(
        "[Service]\nType=simple\nKillMode=mixed\nKillSignal=TERM\nSlice=machine.slice\nDelegate=yes\n\
         ExecStart={} --quiet --keep-unit --register=no -M {name} -D {} --bind-ro=/nix/store --kill-signal=SIGRTMIN+3 \
         {system}/init\n",
        nspawn.display(),
        root.display()
    );
    let of_nixos = Configuration { units: BTreeMap::from([(host.nixos_unit(), text)]), ..Configuration::default() };
    let module = format!(
        "{{ firn.takeOver = true; containers.\"{name}\" = {{ path = \"{system}\"; extraFlags = [ \"--notify-ready=no\" ]; }}; }}"
    );
    let taken = host.configurations(&[module]).remove(0);
    let is_active = || systemctl(&["is-active", &host.nixos_unit()]).stdout;

    host.switch(&Configuration::default(), &of_nixos);
    systemctl(&["start", &host.nixos_unit()]).succeeds();
    wait_until("it has booted", || root.join("bin/sh").is_symlink());
    std::fs::write(root.join("var/lib/data"), "of before\n").unwrap();

    let (jobs, is_failed) = host.switch(&of_nixos, &taken);
    assert_eq!((jobs, is_failed), (vec![format!("restart {}", host.nixos_unit())], false));
    assert_eq!(host.listed().unwrap()["state"], "up");
    assert_eq!(host.sh("cat /var/lib/data; echo of firn > /var/lib/data"), "of before\n");
    // Units that were ordered after it, or restart it, find it by its name.
    assert_eq!(is_active(), "active\n");
    let id = systemctl(&["show", "--value", "--property", "Id", &host.nixos_unit()]).succeeds().stdout;
    assert_eq!(id, format!("{}\n", host.unit()));

    // A generation of the host without firn.
    let (_, is_failed) = host.switch(&taken, &of_nixos);
    assert!(!is_failed);
    systemctl(&["start", &host.nixos_unit()]).succeeds();
    assert_eq!(is_active(), "active\n");
    assert_eq!(std::fs::read_to_string(root.join("var/lib/data")).unwrap(), "of firn\n");
    systemctl(&["stop", &host.nixos_unit()]).succeeds();
    host.firnctl(&["destroy", &name]).succeeds();
    assert!(!root.exists() && !root.is_symlink());
}
