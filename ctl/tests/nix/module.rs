//! The NixOS module, on a host of the tests (nix/tests/host.nix).

use crate::evaluate::{Scratch, firnctl, json_of_firnctl, nix};
use crate::samples::{samples, with};
use firnctl::definition::schema::Definition;
use firnctl::difference::{self, Change};
use firnctl::generation::Running;
use firnctl::host::Owner;
use serde_json::{Map, Value, json};

/// What comes of a host's configuration; `what` selects from it.
#[track_caller]
fn host(module: &str, what: &str) -> Value {
    nix(&format!("let host = import (nix + \"/tests/host.nix\") ({module}); in {what}"))
}

/// The definitions of a host, as files that firnctl reads.
fn written(name: &str, definitions: &Value) -> Scratch {
    let scratch = Scratch::new(name);
    for (path, definition) in definitions.as_object().expect("files") {
        let file = path.strip_prefix("firn/containers/").expect("a file of ours");
        scratch.write(file, &definition.to_string());
    }
    scratch
}

#[test]
fn a_native_and_a_foreign_container_become_definitions() {
    let found = host(
        r#"{
          firn.containers.web = {
            config = { lib, ... }: { environment.variables.PORT = "80"; };
            privateNetwork = true;
            hostAddress = "10.1.1.1";
            localAddress = "10.1.1.2/24";
            autoStart = true;
          };
          firn.containers.db = {
            rootFS = [ "/srv/debian" "/srv/db" ];
            instances = 2;
            volumes = [ "/srv/data%i:/data" ];
            extra.addressPrefix = "10.2.%i";
          };
        }"#,
        "{ inherit (host) definitions mistakes; inherit (host.config.networking) hosts;
           inherit (host.config.firn.containers.web.config.environment) variables; }",
    );
    assert_eq!(found["mistakes"], json!([]));
    let hosts = json!({
        "10.1.1.2": ["web.containers"], "10.2.1.2": ["db-1.containers"], "10.2.2.2": ["db-2.containers"],
    });
    assert_eq!(found["hosts"], hosts);
    // Of NixOS's `config.containers.x.config.…`, others read what they need; no daemon is in it.
    assert_eq!(found["variables"], json!({"PORT": "80", "NIX_REMOTE": ""}));

    let files = written("module", &found["definitions"]);
    let directory = files.path().to_str().expect("UTF-8");
    let output = firnctl(&["config", "check", directory], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = json_of_firnctl(&["config", "show", "--json", directory], "");
    let system = shown["containers"]["web"]["path"].as_str().expect("a path").to_owned();
    assert!(system.starts_with("/nix/store/") && system.ends_with("-nixos-system-web"), "{system}");
    let db = |number: u32| {
        json!({
            "rootFS": ["/srv/debian", "/srv/db"], "volumes": [format!("/srv/data{number}:/data")],
            "extra": {"addressPrefix": format!("10.2.{number}")},
        })
    };
    let list = &shown["containers"]["web"]["storePaths"];
    assert!(list.as_str().is_some_and(|list| list.ends_with("-nixos-system-web/store-paths")), "{list}");
    let web = json!({
        "path": system, "storePaths": list, "privateNetwork": true, "hostAddress": "10.1.1.1",
        "localAddress": "10.1.1.2/24", "autoStart": true,
    });
    assert_eq!(shown, json!({"containers": {"web": web, "db-1": db(1), "db-2": db(2)}}));
}

/// A host with a container for each sample, of the option's name, and `base`.
fn host_of_samples(what: &str) -> Value {
    let samples = samples().into_iter().map(|(option, sample)| (option, Value::Object(with(&sample))));
    let all: Map<String, Value> = samples.chain([("base".into(), Value::Object(with(&json!({}))))]).collect();
    let module = format!(
        "{{ firn.containers = builtins.fromJSON ''{}''; services.openssh.enable = true; }}",
        Value::Object(all)
    );
    host(&module, what)
}

#[test]
fn every_option_reaches_firnctl() {
    let schema = json_of_firnctl(&["config", "schema"], "");
    let options = &schema["properties"]["containers"]["additionalProperties"]["properties"];
    let (samples, options) = (samples(), options.as_object().expect("options"));
    assert_eq!(samples.keys().collect::<Vec<_>>(), options.keys().collect::<Vec<_>>(), "samples.rs has them all");

    let mut found = host_of_samples("{ inherit (host) definitions mistakes; }");
    let mistakes = found["mistakes"].as_array().expect("a list");
    let told: Vec<&str> = mistakes.iter().filter_map(Value::as_str).filter_map(|told| told.split(' ').next()).collect();
    assert_eq!(told, ["firn.containers.linkJournal.linkJournal:"], "the only one that has no effect");
    for (option, sample) in &samples {
        let definition = &found["definitions"][format!("firn/containers/{option}.json")];
        assert_eq!(definition, &json!({"containers": {option: with(sample)}}));
    }
    found["definitions"].as_object_mut().expect("files").remove("firn/containers/linkJournal.json");
    let files = written("samples", &found["definitions"]);
    let output = firnctl(&["config", "check", files.path().to_str().expect("UTF-8")], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What changes live is a reload, and what else changes a restart: as firnctl does it.
#[test]
fn a_rebuild_restarts_what_cannot_be_changed_live() {
    let found = host_of_samples("host.units");
    let unit = |name: &str| found[format!("firn@{name}.service")].as_str().expect("a unit").to_owned();
    // Of a unit's text switch-to-configuration ignores these, and restarts where another line differs.
    let ignored = "X-Reload-Triggers=";
    let compared = |name: &str| {
        let text = unit(name);
        text.lines().filter(|line| !line.starts_with(ignored)).map(String::from).collect::<Vec<_>>()
    };
    let trigger = |name: &str| unit(name).lines().find(|line| line.starts_with("X-Reload-Triggers=")).map(String::from);
    let run = |more: &Value| {
        let definition: Definition = serde_json::from_value(Value::Object(with(more))).expect("a definition");
        let system = definition.path.as_ref().or(definition.flake.as_ref()).map(Into::into);
        let layers = definition.root_fs.iter().map(Into::into).collect();
        let earlier_systems = Vec::new();
        let is_changing = false;
        Running { version: 1, definition, system, earlier_systems, layers, first_id: None, generation: 1, is_changing }
    };
    // These change other lines of the unit: its order and its mounts, and whether it may be restarted.
    let by_unit = ["bindMounts", "volumes", "volumes-ro", "dependsOn", "restartIfChanged"];
    for (option, sample) in samples().iter().filter(|(option, _)| *option != "instances") {
        // What it needs beside it is no change; another root is one.
        let mut others = sample.as_object().expect("an object").clone();
        others.retain(|name, _| name != option && sample.get("path") != Some(&Value::Null));
        let change = difference::between(&run(&Value::Object(others.clone())), &run(sample), Owner::Root);
        let is_alone = others.is_empty();
        let is_restart = compared(option) != compared("base");
        match change {
            Change::Restart(_) => assert!(is_restart, "{option}: {change}"),
            _ if by_unit.contains(&option.as_str()) => assert!(is_restart, "{option}: {change}"),
            Change::Unchanged => assert!(!is_restart || !is_alone, "{option}: {change}"),
            Change::Live(_) | Change::Update { .. } => {
                assert!(!is_restart || !is_alone, "{option}: {change}");
                assert_ne!(trigger(option), trigger("base"), "{option}: {change}");
            }
        }
    }
}

/// Nothing in a system without switch-to-configuration could switch to it.
#[test]
fn a_system_that_cannot_be_switched_to_is_restarted() {
    let module = |variable: &str, switch: &str| {
        format!(
            "({{ firn.containers.web.config = {{ environment.variables.A = \"{variable}\"; system.switch.enable = {switch}; }}; }})"
        )
    };
    let hosts = [module("1", "true"), module("2", "true"), module("1", "false"), module("2", "false")];
    let found = nix(&format!(
        "map (module: (import (nix + \"/tests/host.nix\") module).units.\"firn@web.service\") [ {} ]",
        hosts.join(" ")
    ));
    let restarts = |one: usize, other: usize| {
        let lines = |index: usize| {
            let text = found[index].as_str().expect("a unit");
            text.lines().filter(|line| !line.starts_with("X-Reload-Triggers=")).collect::<Vec<_>>()
        };
        lines(one) != lines(other)
    };
    assert!(!restarts(0, 1) && restarts(2, 3));
}

#[test]
fn units_are_the_templates_with_what_the_definition_adds() {
    let found = host(
        r#"{ firn.containers.web = {
              path = "/nix/store/system"; dependsOn = [ "db" ]; interfaces = [ "eth-1" ]; autoStart = true;
              bindMounts."/b\"%" = { }; volumes = [ "/a:b:/c" "./relative:/d" ]; restartIfChanged = false;
            };
            firn.containers.db = {
              rootFS = [ "/srv/a" "docker://b" ]; instances = 2; interfaces = [ "lan%i" ]; autoStart = true;
            }; }"#,
        "{ inherit (host) units; inherit (host.config.systemd) services;
           resident = host.config.systemd.units.\"firn-network.service\".text;
           wanted = host.config.systemd.services.\"firn@web\".wantedBy; }",
    );
    let units = &found["units"];
    let text = |name: &str| units[name].as_str().expect("a unit").to_owned();
    // No line of the template is missing: in its section, with what the definition adds.
    let template = include_str!("../../firn@.service").replace("@bindir@", "/run/current-system/sw/bin");
    let is_setting = |line: &&str| !line.starts_with('#') && !line.is_empty();
    let template: Vec<&str> = template.lines().take_while(|line| *line != "[Install]").filter(is_setting).collect();
    let needed = "firn-declare.service firn@db-1.service firn@db-2.service sys-subsystem-net-devices-eth\\x2d1.device";
    for (name, after) in [("firn@.service", ""), ("firn@web.service", needed)] {
        let text = text(name);
        for line in &template {
            let has_more = ["After=", "Wants="].iter().any(|option| line.starts_with(option));
            let line = if has_more { format!("{line} {after}").trim_end().to_owned() } else { (*line).to_owned() };
            assert!(text.lines().any(|other| other == line), "{name}: {line}: {text}");
        }
        assert!(text.contains("\nEnvironment=\"PATH=/run/current-system/sw/bin\"\n"), "{text}");
    }
    let added = |name: &str| {
        let text = text(name);
        let lines = text.lines().filter(|line| !template.contains(line) && !line.is_empty());
        lines
            .filter(|line| {
                !["X-Re", "X-Firn"].iter().any(|start| line.starts_with(start)) && !line.starts_with("Environment=")
            })
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        added("firn@web.service"),
        [
            &format!("After=network.target firn-network.socket firn-network.service {needed}"),
            "RequiresMountsFor=\"/b\\\"%%\"",
            "RequiresMountsFor=\"/a:b\"",
            &format!("Wants=firn-network.socket {needed}"),
            "X-StopIfChanged=false",
            "ExecReload=-/run/current-system/sw/bin/firnctl unit declare /etc/firn/containers",
        ]
    );
    assert_eq!(added("firn@.service"), [] as [&str; 0]);
    assert!(text("firn@web.service").contains("\nX-RestartIfChanged=false\n"));
    let db = added("firn@db-2.service");
    assert!(db.contains(&"RequiresMountsFor=\"/srv/a\"".to_owned()), "{db:?}");
    assert!(db.iter().any(|line| line.ends_with("sys-subsystem-net-devices-lan2.device")), "{db:?}");
    assert_eq!(found["wanted"], json!(["machines.target"]));
    let resident = include_str!("../../firn-network.service").replace("@bindir@", "/run/current-system/sw/bin");
    assert_eq!(found["resident"], json!(resident));
    // New definitions are handed over also where nothing is restarted.
    let declare = &found["services"]["firn-declare"];
    assert_eq!(declare["restartTriggers"].as_array().map(Vec::len), Some(2), "{declare}");
    // So that a new firn or nixpkgs restarts no container.
    assert!(!text("firn@web.service").contains("/nix/store"));
}

#[test]
fn each_wrong_combination_is_named() {
    let path = "path = \"/nix/store/system\";";
    let cases = [
        ("", "firn.containers.a: nothing to run"),
        (
            "path = \"/x\"; flake = \"/y\";",
            "firn.containers.a.flake: The options 'firn.containers.a.path' and 'firn.containers.a.flake' cannot both be set.",
        ),
        ("path = \"/x\"; rootFS = [ \"/y\" ];", "firn.containers.a.rootFS: "),
        ("rootFS = [ \"/y\" ]; persistent = true; ephemeral = true;", "firn.containers.a.persistent: ephemeral"),
        ("persistent = true;", "firn.containers.a.persistent: is for rootFS"),
        ("rootFrom = \"/y\"; ephemeral = true;", "firn.containers.a.rootFrom: ephemeral"),
        ("rootFS = [ \"/y\" ]; rootFrom = \"/z\";", "firn.containers.a.rootFrom: needs firn.containers.a.persistent"),
        ("rootFS = [ \"/y\" ]; nixDaemon = true;", "firn.containers.a.nixDaemon: "),
        ("flake = \"/y\"; storePaths = \"/x\";", "firn.containers.a.storePaths: "),
        ("hostAddress = \"10.0.0.1\";", "firn.containers.a.hostAddress: needs firn.containers.a.privateNetwork"),
        ("localAddress6 = \"fd00::1\";", "firn.containers.a.localAddress6: needs firn.containers.a.privateNetwork"),
        ("hostBridge = \"br0\";", "firn.containers.a.hostBridge: needs firn.containers.a.privateNetwork"),
        (
            "localMacAddress = \"02:00:00:00:00:01\";",
            "firn.containers.a.localMacAddress: needs firn.containers.a.privateNetwork",
        ),
        (
            "forwardPorts = [ { hostPort = 80; } ]; privateNetwork = true;",
            "firn.containers.a.forwardPorts: needs localAddress",
        ),
        (
            "extra.addressPrefix = \"10.1.1\"; hostAddress = \"10.1.1.1\";",
            "firn.containers.a.hostAddress: firn.containers.a.extra.addressPrefix",
        ),
        (
            "networkNamespace = \"/run/netns/x\"; privateNetwork = true;",
            "firn.containers.a.networkNamespace: firn.containers.a.privateNetwork",
        ),
        (
            "networkNamespace = \"/run/netns/x\"; interfaces = [ \"eth1\" ];",
            "firn.containers.a.networkNamespace: firn.containers.a.interfaces",
        ),
        ("extra.enableWAN = true;", "firn.containers.a.extra.enableWAN: "),
        ("extra.exposeLocalhost = true;", "firn.containers.a.extra.exposeLocalhost: "),
        ("extra.firewallAllowHost = true;", "firn.containers.a.extra.firewallAllowHost: "),
        ("extraVeths.a-name-of-sixteen = { };", "firn.containers.a.extraVeths.a-name-of-sixteen: "),
        ("bindMounts.\"/a\".idmap = \"idmap\";", "firn.containers.a.bindMounts.\"/a\".idmap: "),
        (
            "privateUsers = \"pick\"; bindMounts.\"/a\".idmap = \"rootidmap\";",
            "firn.containers.a.bindMounts.\"/a\".idmap: rootidmap has no effect yet",
        ),
        ("extra.enableSSH = true;", "firn.containers.a.extra.enableSSH: is for containers that firnctl evaluates"),
        ("linkJournal = true;", "firn.containers.a.linkJournal: has no effect yet"),
        ("dependsOn = [ \"b\" ];", "firn.containers.a.dependsOn: there is no container b"),
    ];
    let hosts = cases.map(|(text, _)| {
        let given = ["rootFS", "path", "flake"].iter().any(|root| text.contains(root)) || text.is_empty();
        format!("{{ firn.containers.a = {{ {} {text} }}; }}", if given { "" } else { path })
    });
    let told = |hosts: &[String]| {
        nix(&format!(
            "map (module: let host = import (nix + \"/tests/host.nix\") module; in {{ inherit (host) mistakes definitions; }}) [ {} ]",
            hosts.join(" ")
        ))
    };
    let found = told(&hosts);
    for ((text, expected), found) in cases.iter().zip(found.as_array().expect("a list")) {
        let mistakes = found["mistakes"].as_array().expect("a list");
        let is_told =
            mistakes.iter().any(|mistake| mistake.as_str().is_some_and(|mistake| mistake.starts_with(expected)));
        assert!(is_told, "{text}: {mistakes:?}");
        // firnctl finds them too, when the system is built.
        let project = found["definitions"]["firn/containers/a.json"].to_string();
        let output = firnctl(&["config", "check", "-"], &project);
        assert_eq!(output.status.code(), Some(1), "{text}: {project}");
    }
    let names = told(&["-a", "a b", "..", "a/b"].map(|name| format!("{{ firn.containers.{name:?} = {{ {path} }}; }}")));
    for found in names.as_array().expect("a list") {
        assert!(found["mistakes"][0].as_str().is_some_and(|mistake| mistake.contains("a name has letters")), "{found}");
    }
}

/// NixOS takes a label (RFC 1035) for a host name, or none.
#[test]
fn a_host_name_that_is_no_label_is_left_to_the_outside() {
    let found = host(
        r#"{ firn.containers = {
              "a.b".config = { }; mail = { config = { }; hostname = "post"; }; plain.config = { };
              web = { config = { }; hostname = "web-%i"; instances = 2; };
            }; }"#,
        "builtins.mapAttrs (_: container: container.config.networking.hostName) host.config.firn.containers",
    );
    assert_eq!(found, json!({"a.b": "", "mail": "post", "plain": "plain", "web": ""}));
}

#[test]
fn keys_of_containers_are_roots_of_the_host() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBUdmuPHqLCSkGPCUvRk4Vs1BAJBzRbzLzyuVQXuDvCF me";
    let container =
        format!("firn.containers.web = {{ path = \"/x\"; sshKeys.deploy = [ \"{key}\" ]; instances = 2; }};");
    let found = |more: &str| {
        host(
            &format!("{{ {container} {more} }}"),
            "{ inherit (host) mistakes; inherit (host.config) warnings; inherit (host.config.services) openssh;
               keys = host.config.users.users.root.openssh.authorizedKeys.keys;
               command = { inherit (host.config.environment.etc.\"firn/ssh-keys\") mode text; }; }",
        )
    };
    let on = found("services.openssh.enable = true;");
    let line = |number: u32| {
        format!("restrict,pty,command=\"/run/current-system/sw/bin/firnctl ssh-command deploy@web-{number}\" {key}")
    };
    assert_eq!(on["keys"], json!([line(1), line(2)]));
    assert_eq!((&on["mistakes"], &on["warnings"]), (&json!([]), &json!(["another"])));
    // Of containers that the configuration doesn't have, by a program that is no one else's to write.
    assert_eq!(on["openssh"]["authorizedKeysCommand"], "/etc/firn/ssh-keys %u");
    assert_eq!(on["openssh"]["authorizedKeysCommandUser"], "root");
    assert_eq!(on["command"]["mode"], "0755");
    assert_eq!(on["command"]["text"], "#!/bin/sh\nexec /run/current-system/sw/bin/firnctl ssh-keys -- \"$1\"\n");
    // One that the host has already stays.
    let other = found("services.openssh = { enable = true; authorizedKeysCommand = \"/etc/keys %u\"; };");
    assert_eq!(other["openssh"]["authorizedKeysCommand"], "/etc/keys %u");

    // A host on which nobody could log in so.
    let off = found("");
    let told = "firn.containers.web.sshKeys: services.openssh.enable is false: nobody can log in with these keys";
    assert!(off["warnings"].as_array().expect("a list").contains(&json!(told)), "{}", off["warnings"]);
    for (setting, expected) in [
        (
            "PermitRootLogin = \"no\";",
            "services.openssh.settings.PermitRootLogin is \"no\": give \"forced-commands-only\"",
        ),
        ("AllowUsers = [ \"me\" ];", "services.openssh.settings.AllowUsers has no root"),
        ("DenyUsers = [ \"root\" ];", "services.openssh.settings.DenyUsers has root"),
    ] {
        let found = found(&format!("services.openssh = {{ enable = true; settings.{setting} }};"));
        let told = found["mistakes"][0].as_str().unwrap_or_default();
        assert!(told.starts_with(&format!("firn.containers.web.sshKeys: {expected}")), "{setting} {told}");
    }
}

/// A path that is written as one is where it is: in the store there would be neither owners nor devices.
#[test]
fn paths_stay_where_they_are() {
    let found = host(
        r#"{ firn.containers.a = {
               rootFS = [ /srv/debian (/. + "/srv/b") "/srv/c" ]; bindMounts."/x".hostPath = "/srv/x"; persistent = true;
             }; }"#,
        "host.definitions",
    );
    let definition = &found["firn/containers/a.json"]["containers"]["a"];
    assert_eq!(definition["rootFS"], json!(["/srv/debian", "/srv/b", "/srv/c"]));
}

#[test]
fn a_host_without_containers_checks_none() {
    let found = host("{ firn.enable = true; }", "{ inherit (host.config.system) checks; }");
    assert_eq!(found["checks"], json!([]));
}

#[test]
fn podman_containerd_and_docker_run_firn_by_one_option() {
    let found = host("{ firn.ociRuntime = true; }", "host.config.virtualisation");
    let firn = &found["docker"]["daemon"]["settings"]["runtimes"]["firn"]["path"];
    assert!(firn.as_str().is_some_and(|firn| firn.ends_with("-firn/bin/firn")), "{firn}");
    let engine = &found["containers"]["containersConf"]["settings"]["engine"];
    let known = json!(["firn"]);
    let expected = json!({
        "runtime": "firn", "runtimes": {"firn": [firn]},
        "runtime_supports_json": known, "runtime_supports_nocgroups": known,
    });
    assert_eq!(engine, &expected);
    let containerd = &found["containerd"]["settings"]["plugins"]["io.containerd.grpc.v1.cri"]["containerd"];
    assert_eq!(containerd["runtimes"]["firn"]["options"]["BinaryName"], *firn);
}

#[test]
fn the_flake_has_the_module_and_a_package_for_any_nixpkgs() {
    let found = nix("let
           outputs = (import (nix + \"/../flake.nix\")).outputs { self = outputs; };
           pkgs.callPackage = file: _: import file { inherit lib; rustPlatform.buildRustPackage = package: package; stdenv = { }; };
           package = outputs.lib.makePackage { inherit pkgs; };
         in {
           inherit (package) pname version;
           overlay = (outputs.overlays.default pkgs { }).firn.pname;
           packages = builtins.mapAttrs (_: builtins.attrNames) outputs.packages;
           module = (import outputs.nixosModules.default) ? imports;
         }");
    let version = env!("CARGO_PKG_VERSION");
    let expected = json!({
        "pname": "firn", "version": version, "overlay": "firn", "module": true,
        "packages": {"x86_64-linux": ["default", "firn"]},
    });
    assert_eq!(found, expected);
}
