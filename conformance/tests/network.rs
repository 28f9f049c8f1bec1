//! Network devices of the host that move into a container. The host is played by
//! a network namespace of the test's own.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command};
use serde_json::{Value, json};
use std::process::Command;

const ADDRESSES: &str = "ip -o addr show | sed 's/  */ /g'; ip link";

/// A pair of devices, `v0` with addresses of several kinds; then `script`, in
/// which `$FIRN run` runs the bundle; then what the host has.
fn on_a_host(firn: &Runtime, bundle: &Bundle, script: &str) -> Output {
    program("ip", "iproute2");
    let setting = "set -e
        ip link set lo up
        ip link add v0 type veth peer name v1
        ip link set v0 mtu 1400 address 02:00:00:00:00:07
        ip link set v1 up
        ip addr add 192.0.2.7/24 brd 192.0.2.255 dev v0
        ip addr add 169.254.7.7/16 scope link dev v0
        ip addr add 192.0.2.99/24 dev v0 valid_lft 1000 preferred_lft 1000
        ip -6 addr add 2001:db8::7/64 dev v0 nodad
        ip link set v0 up";
    let line = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let mut shell = Command::new("unshare");
    shell.args(["-n", "sh", "-c", &format!("{setting}\n{script}"), "sh"]);
    shell.arg(line.get_program()).args(line.get_args());
    command(&mut shell)
}

fn bundle(scratch: &Scratch, devices: Value, script: &str) -> Bundle {
    Bundle::new(scratch).shell(script).set("/linux/netDevices", devices).write()
}

#[test]
fn a_device_moves_with_its_lasting_addresses() {
    let scratch = Scratch::new("netdev");
    let firn = Runtime::firn(&scratch);
    let bundle = bundle(&scratch, json!({"v0": {"name": "eth0"}}), ADDRESSES);
    let output = on_a_host(&firn, &bundle, "\"$@\"").succeeds().stdout;
    for wanted in [
        "eth0 inet 192.0.2.7/24 brd 192.0.2.255 scope global",
        "eth0 inet6 2001:db8::7/64 scope global",
        "mtu 1400",
        "02:00:00:00:00:07",
        "lo inet 127.0.0.1/8",
    ] {
        assert!(output.contains(wanted), "{wanted:?} is not in\n{output}");
    }
    assert!(output.lines().any(|line| line.contains("eth0@") && line.contains(",UP")), "{output}");
    for unwanted in ["169.254.7.7", "192.0.2.99", "v0"] {
        assert!(!output.contains(unwanted), "{unwanted:?} is in\n{output}");
    }
    firn.left_nothing();
}

#[test]
fn a_device_keeps_its_name_or_gets_one_that_is_free() {
    let scratch = Scratch::new("netdev-name");
    let firn = Runtime::firn(&scratch);
    let same = bundle(&scratch, json!({"v0": {}}), ADDRESSES);
    assert!(on_a_host(&firn, &same, "\"$@\"").succeeds().stdout.contains("v0 inet 192.0.2.7/24"));
    std::fs::remove_dir_all(&same.path).unwrap();
    let both = bundle(&scratch, json!({"v0": {"name": "net%d"}, "v1": {"name": "net%d"}}), ADDRESSES);
    let output = on_a_host(&firn, &both, "\"$@\"").succeeds().stdout;
    assert!(output.contains("net0 inet 192.0.2.7/24") && output.contains("net1@net0"), "{output}");
    firn.left_nothing();
}

/// A virtual device would end with the namespace that it is in.
#[test]
fn devices_come_back_when_the_container_can_not_be_made() {
    let scratch = Scratch::new("netdev-back");
    let firn = Runtime::firn(&scratch);
    let after = "if \"$@\"; then exit 9; fi; ip -o addr show dev v0 | sed 's/  */ /g'; ip link show v0";
    let cases = [
        (json!({"v0": {"name": "lo"}}), json!(["true"]), "v0: move it and rename it to lo: file exists"),
        (json!({"v0": {}, "v7": {}}), json!(["true"]), "network device v7: it does not exist on the host"),
        (json!({"v0": {"name": "eth0"}}), json!(["/bin/none"]), "no such file or directory"),
    ];
    for (devices, args, error) in cases {
        let bundle = bundle(&scratch, devices, "").set("/process/args", args).write();
        let output = on_a_host(&firn, &bundle, after).succeeds();
        assert!(output.stderr.contains(error), "{}", output.stderr);
        for wanted in ["v0 inet 192.0.2.7/24", "v0 inet6 2001:db8::7/64", ",UP"] {
            assert!(output.stdout.contains(wanted), "{wanted:?} is not in\n{}", output.stdout);
        }
        firn.left_nothing();
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let scratch = Scratch::new("netdev-bad");
    let firn = Runtime::firn(&scratch);
    let own = bundle(&scratch, json!({"v0": {}}), "").without_namespace("network").write();
    let error = firn.run(&own).fails(1).stderr;
    assert!(error.contains("linux.netDevices needs a \\\"network\\\" namespace"), "{error}");
    std::fs::remove_dir_all(&own.path).unwrap();
    let named = bundle(&scratch, json!({"v0": {"name": "a/b"}}), "");
    let error = firn.run(&named).fails(1).stderr;
    assert!(error.contains("can't be the name of a network device"), "{error}");
    firn.left_nothing();
}
