//! The same meaning twice: as NixOS's own module writes it for its units (a .conf and its flags of
//! systemd-nspawn), read by firnctl, and as our module's definition, of NixOS's own options and of ours.

use crate::evaluate::{Scratch, json_of_firnctl, nix};
use serde_json::{Map, Value, json};

/// The options in Nix, and the lines of NAME.conf beside SYSTEM_PATH.
const CASES: &[(&str, &str)] = &[
    ("", ""),
    ("autoStart = true;", "AUTO_START=1"),
    ("privateNetwork = true;", "PRIVATE_NETWORK=1"),
    ("privateNetwork = true; hostAddress = \"10.1.0.1\";", "PRIVATE_NETWORK=1\nHOST_ADDRESS=10.1.0.1"),
    ("privateNetwork = true; localAddress = \"10.1.0.2\";", "PRIVATE_NETWORK=1\nLOCAL_ADDRESS=10.1.0.2"),
    (
        "privateNetwork = true; hostAddress = \"10.1.0.1\"; localAddress = \"10.1.0.2\";",
        "PRIVATE_NETWORK=1\nHOST_ADDRESS=10.1.0.1\nLOCAL_ADDRESS=10.1.0.2",
    ),
    ("privateNetwork = true; localAddress = \"10.1.0.2/24\";", "PRIVATE_NETWORK=1\nLOCAL_ADDRESS=10.1.0.2/24"),
    (
        "privateNetwork = true; hostAddress6 = \"fc00::1\"; localAddress6 = \"fc00::2\";",
        "PRIVATE_NETWORK=1\nHOST_ADDRESS6=fc00::1\nLOCAL_ADDRESS6=fc00::2",
    ),
    ("privateNetwork = true; hostBridge = \"br0\";", "PRIVATE_NETWORK=1\nHOST_BRIDGE=br0"),
    (
        "privateNetwork = true; hostBridge = \"br0\"; localAddress = \"192.168.0.5/24\"; hostAddress = \"192.168.0.1\";",
        "PRIVATE_NETWORK=1\nHOST_BRIDGE=br0\nHOST_ADDRESS=192.168.0.1\nLOCAL_ADDRESS=192.168.0.5/24",
    ),
    (
        "privateNetwork = true; localAddress = \"10.1.0.2\"; forwardPorts = [ { hostPort = 8080; containerPort = 80; } ];",
        "PRIVATE_NETWORK=1\nHOST_PORT=tcp:8080:80\nLOCAL_ADDRESS=10.1.0.2",
    ),
    (
        "privateNetwork = true; localAddress = \"10.1.0.2\"; forwardPorts = [ { protocol = \"udp\"; hostPort = 53; containerPort = 53; } { hostPort = 443; containerPort = 8443; } ];",
        "PRIVATE_NETWORK=1\nHOST_PORT=udp:53:53,tcp:443:8443\nLOCAL_ADDRESS=10.1.0.2",
    ),
    ("interfaces = [ \"eth1\" ];", "INTERFACES=\"eth1\""),
    ("interfaces = [ \"eth1\" \"eth2\" ];", "INTERFACES=\"eth1 eth2\""),
    ("macvlans = [ \"eth1\" \"eth2\" ];", "MACVLANS=\"eth1 eth2\""),
    ("networkNamespace = \"/run/netns/vpn\";", "NETWORK_NAMESPACE_PATH=/run/netns/vpn"),
    ("privateUsers = \"pick\";", "PRIVATE_USERS=pick"),
    ("privateUsers = \"identity\";", "PRIVATE_USERS=identity"),
    ("privateUsers = 65536;", "PRIVATE_USERS=65536"),
    ("privateUsers = \"no\";", "PRIVATE_USERS=no"),
    (
        "bindMounts.\"/home\" = { hostPath = \"/srv/home\"; isReadOnly = false; };",
        "EXTRA_NSPAWN_FLAGS=\"--bind=/srv/home:/home\"",
    ),
    ("bindMounts.\"/home\" = { hostPath = \"/srv/home\"; };", "EXTRA_NSPAWN_FLAGS=\"--bind-ro=/srv/home:/home\""),
    ("bindMounts.\"/home\" = { };", "EXTRA_NSPAWN_FLAGS=\"--bind-ro=/home:/home\""),
    (
        "bindMounts = { \"/a\" = { isReadOnly = false; }; \"/b\" = { mountPoint = \"/c\"; hostPath = \"/d\"; }; };",
        "EXTRA_NSPAWN_FLAGS=\"--bind=/a:/a --bind-ro=/d:/c\"",
    ),
    ("bindMounts.\"/file\" = { hostPath = \"/etc/file\"; };", "EXTRA_NSPAWN_FLAGS=\"--bind-ro=/etc/file:/file\""),
    ("tmpfs = [ \"/var\" ];", "EXTRA_NSPAWN_FLAGS=\"--tmpfs=/var\""),
    (
        "tmpfs = [ \"/var\" \"/tmp/x:size=64m,mode=0700\" ];",
        "EXTRA_NSPAWN_FLAGS=\"--tmpfs=/var --tmpfs=/tmp/x:size=64m,mode=0700\"",
    ),
    ("additionalCapabilities = [ \"CAP_NET_ADMIN\" ];", "EXTRA_NSPAWN_FLAGS=\"--capability=CAP_NET_ADMIN\""),
    (
        "additionalCapabilities = [ \"CAP_NET_ADMIN\" \"CAP_SYS_NICE\" ];",
        "EXTRA_NSPAWN_FLAGS=\"--capability=CAP_NET_ADMIN,CAP_SYS_NICE\"",
    ),
    ("extraFlags = [ \"-U\" ];", "EXTRA_NSPAWN_FLAGS=\" -U\""),
    ("extraFlags = [ \"--private-users=524288:65536\" ];", "EXTRA_NSPAWN_FLAGS=\" --private-users=524288:65536\""),
    (
        "extraFlags = [ \"--private-users=pick\" \"--private-users-ownership=map\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --private-users=pick --private-users-ownership=map\"",
    ),
    (
        "extraFlags = [ \"-U\" \"--bind=/srv/a:/a:idmap\" \"--bind-ro=/b\" ];",
        "EXTRA_NSPAWN_FLAGS=\" -U --bind=/srv/a:/a:idmap --bind-ro=/b\"",
    ),
    ("extraFlags = [ \"--setenv=A=b=c\" \"--setenv=D=e\" ];", "EXTRA_NSPAWN_FLAGS=\" --setenv=A=b=c --setenv=D=e\""),
    ("extraFlags = [ \"--load-credential=id:/run/key\" ];", "EXTRA_NSPAWN_FLAGS=\" --load-credential=id:/run/key\""),
    ("extraFlags = [ \"--link-journal=try-guest\" ];", "EXTRA_NSPAWN_FLAGS=\" --link-journal=try-guest\""),
    (
        "extraFlags = [ \"-q --keep-unit\" \"--register=yes\" \"--settings=no\" \"--timezone=off\" \"-j\" ];",
        "EXTRA_NSPAWN_FLAGS=\" -q --keep-unit --register=yes --settings=no --timezone=off -j\"",
    ),
    (
        "extraFlags = [ \"--network-bridge=br0\" \"--port=8080:80\" \"--port=udp:53\" \"--network-veth-extra=vb-x:back\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --network-bridge=br0 --port=8080:80 --port=udp:53 --network-veth-extra=vb-x:back\"",
    ),
    (
        "extraFlags = [ \"--network-namespace-path=/run/netns/a\" \"--private-users-ownership=chown\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --network-namespace-path=/run/netns/a --private-users-ownership=chown\"",
    ),
    (
        "extraFlags = [ \"--property=MemoryMax=1G\" \"--property=CPUQuota=150%\" \"--property=TasksMax=64\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --property=MemoryMax=1G --property=CPUQuota=150% --property=TasksMax=64\"",
    ),
    (
        "extraFlags = [ \"--rlimit=RLIMIT_NOFILE=1024:4096\" \"--rlimit=CORE=infinity\" \"--oom-score-adjust=-5\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --rlimit=RLIMIT_NOFILE=1024:4096 --rlimit=CORE=infinity --oom-score-adjust=-5\"",
    ),
    (
        "extraFlags = [ \"--no-new-privileges=yes\" \"--kill-signal=SIGTERM\" \"--cpu-affinity=0-3\" \"-x\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --no-new-privileges=yes --kill-signal=SIGTERM --cpu-affinity=0-3 -x\"",
    ),
    (
        "extraFlags = [ \"--link-journal=auto --hostname=other\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --link-journal=auto --hostname=other\"",
    ),
    (
        "extraFlags = [ \"--notify-ready=no\" \"--resolv-conf=off\" ];",
        "EXTRA_NSPAWN_FLAGS=\" --notify-ready=no --resolv-conf=off\"",
    ),
    (
        "extraFlags = [ \"--capability=CAP_BPF\" ]; additionalCapabilities = [ \"CAP_SYSLOG\" ];",
        "EXTRA_NSPAWN_FLAGS=\"--capability=CAP_SYSLOG --capability=CAP_BPF\"",
    ),
    (
        "extraFlags = [ \"--network-macvlan=eth2\" ]; macvlans = [ \"eth1\" ];",
        "MACVLANS=\"eth1\"\nEXTRA_NSPAWN_FLAGS=\" --network-macvlan=eth2\"",
    ),
    (
        "tmpfs = [ \"/a\" ]; extraFlags = [ \"--tmpfs=/b\" \"--network-interface=eth3\" ];",
        "EXTRA_NSPAWN_FLAGS=\"--tmpfs=/a --tmpfs=/b --network-interface=eth3\"",
    ),
    (
        "autoStart = true; privateNetwork = true; hostBridge = \"br0\"; bindMounts.\"/s\" = { hostPath = \"/srv\"; isReadOnly = false; }; privateUsers = \"pick\";",
        "PRIVATE_NETWORK=1\nHOST_BRIDGE=br0\nAUTO_START=1\nPRIVATE_USERS=pick\nEXTRA_NSPAWN_FLAGS=\"--bind=/srv:/s\"",
    ),
];

const SYSTEM: &str = "/nix/var/nix/profiles/per-container/a";

/// A host for each case, by an option that has the containers.
fn definitions(option: &str, more: &str, has: impl Fn(&str) -> bool) -> Vec<Option<Value>> {
    let host = |options: &str| format!("{{ {more} {option}.a = {{ path = \"{SYSTEM}\"; {options} }}; }}");
    let hosts: String =
        CASES.iter().filter(|(options, _)| has(options)).map(|(options, _)| format!("({}) ", host(options))).collect();
    let found = nix(&format!(
        "map (module: let host = import (nix + \"/tests/host.nix\") module; in
           assert host.mistakes == [ ] || throw (builtins.toJSON host.mistakes);
           host.definitions.\"firn/containers/a.json\") [ {hosts} ]"
    ));
    let mut found = found.as_array().expect("a list").clone().into_iter();
    CASES.iter().map(|(options, _)| if has(options) { found.next() } else { None }).collect()
}

/// As firnctl understands it, in one form.
fn shown(args: &[&str], input: &str) -> Map<String, Value> {
    let shown = json_of_firnctl(&[&["config", "show", "--json"], args].concat(), input);
    let mut definition = shown["containers"]["a"].as_object().expect("a container").clone();
    // Of what is the same, one form.
    definition.remove("rootFrom");
    let time = definition.remove("timeoutStartSec");
    assert!(time.is_none_or(|time| time == "1min"), "NixOS's default is ours");
    for (name, bind) in
        definition.get_mut("bindMounts").and_then(Value::as_object_mut).map(std::mem::take).into_iter().flatten()
    {
        let mut bind = bind.as_object().expect("a bind").clone();
        let place = bind.remove("mountPoint").unwrap_or_else(|| name.into());
        bind.entry("hostPath").or_insert_with(|| place.clone());
        let binds = definition.get_mut("bindMounts").and_then(Value::as_object_mut).expect("binds");
        binds.insert(place.as_str().expect("a path").into(), bind.into());
    }
    for port in definition.get_mut("forwardPorts").and_then(Value::as_array_mut).into_iter().flatten() {
        let host = port["hostPort"].clone();
        port.as_object_mut().expect("a port").entry("containerPort").or_insert(host);
    }
    definition
}

#[test]
fn nixos_own_files_and_our_module_mean_the_same() {
    assert!(CASES.len() >= 40);
    let scratch = Scratch::new("take-over");
    let of_nixos = definitions("containers", "firn.takeOver = true;", |_| true);
    // Flags of systemd-nspawn are no option of ours.
    let of_ours = definitions("firn.containers", "", |options| !options.contains("extraFlags"));
    for (((options, conf), of_nixos), of_ours) in CASES.iter().zip(of_nixos).zip(of_ours) {
        scratch.write("a.conf", &format!("SYSTEM_PATH={SYSTEM}\n{conf}\n"));
        let path = scratch.path().join("a.conf");
        let imported = shown(&[path.to_str().expect("UTF-8")], "");
        for definition in [of_nixos, of_ours].into_iter().flatten() {
            assert_eq!(shown(&["-"], &definition.to_string()), imported, "{options}");
        }
    }
}

#[test]
fn nixos_makes_no_units_for_what_firn_serves() {
    let found = nix("let host = import (nix + \"/tests/host.nix\") {
               firn.takeOver = true;
               containers.web.path = \"/nix/var/nix/profiles/per-container/web\";
               containers.db.path = \"/nix/store/db\";
               containers.db.flake = \"/etc/nixos#db\";
             };
         in { inherit (host.config) warnings; inherit (host.config.boot) enableContainers;
              inherit (host) definitions;
              aliases = host.config.systemd.services.\"firn@web\".aliases;
              programs = builtins.listToAttrs (map (package: { inherit (package) name; value = package.text or null; })
                host.config.environment.systemPackages); }");
    assert_eq!(found["enableContainers"], false);
    // NixOS says that its containers are off, which they are not.
    assert_eq!(found["warnings"], json!(["another"]));
    // What is ordered after NixOS's units, or restarts them, means firn's.
    assert_eq!(found["aliases"], json!(["container@web.service"]));
    let program = found["programs"]["nixos-container"].as_str().expect("a script");
    assert!(program.starts_with("exec -a nixos-container /nix/store/") && program.ends_with("/bin/firnctl \"$@\""));
    assert_eq!(
        found["definitions"]["firn/containers/db.json"]["containers"]["db"],
        json!({"flake": "/etc/nixos#db", "rootFrom": "/var/lib/nixos-containers/db", "timeoutStartSec": "1min"})
    );
}

#[test]
fn what_firn_cannot_take_over_is_a_mistake() {
    let mistakes = nix("(import (nix + \"/tests/host.nix\") {
           firn.takeOver = true;
           containers.web = { path = \"/x\"; extraFlags = [ \"--volatile=overlay --setenv=A\" ]; };
           systemd.services.\"container@web\".serviceConfig.Nice = 5;
         }).mistakes");
    let flag = |flag: &str| {
        format!(
            "containers.web.extraFlags: no option of firn is {flag} of systemd-nspawn; firn.containers.web.ociConfig may say it"
        )
    };
    let unit = "systemd.services.\"container@web\": the unit is firn's: write systemd.services.\"firn@web\"";
    assert_eq!(mistakes, json!([flag("--volatile=overlay"), flag("--setenv=A"), unit]));
}
