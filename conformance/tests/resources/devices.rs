//! Which devices a container may use.

use super::*;

#[test]
fn device_rules_are_those_of_runc() {
    if lacks("devices") {
        return;
    }
    let deny = json!({"allow": false, "access": "rwm"});
    same_as_runc("r-dev", json!({"devices": [deny]}));
    same_as_runc("r-dev2", json!({"devices": []}));
    let rule = |allow: bool, kind: &str, major: i64, minor: i64, access: &str| json!({"allow": allow, "type": kind, "major": major, "minor": minor, "access": access});
    same_as_runc("r-dev3", json!({"devices": [deny, rule(true, "c", 10, 229, "rw"), rule(true, "b", 8, -1, "r")]}));
    same_as_runc(
        "r-dev4",
        json!({"devices": [deny, rule(true, "c", 10, 229, "rwm"), rule(false, "c", 10, 229, "w"), rule(true, "c", 4, 1, "m")]}),
    );
    same_as_runc("r-dev5", json!({"devices": [{"allow": true, "access": "rwm"}]}));
    same_as_runc("r-dev6", json!({"devices": [{"allow": true, "access": "rwm"}, rule(false, "c", 10, 229, "rwm")]}));
    same_as_runc("r-dev7", json!({"devices": [deny, {"allow": true, "type": "a", "access": "rwm"}]}));
}

/// A denied device is EPERM for every caller; on cgroup v2 by a program.
#[test]
fn devices_are_denied_and_allowed_on_every_layout() {
    let scratch = Scratch::new("devices");
    let script =
        "exec 2>&1; ( : < /dev/fuse ) && echo opened fuse; head -c1 /dev/zero | wc -c; : > /dev/null && echo null";
    let node = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]);
    let bundle = Bundle::new(&scratch).shell(script).set("/linux/devices", node).write();
    let rule = |allow, access: &str| json!({"allow": allow, "type": "c", "major": 10, "minor": 229, "access": access});
    let deny = json!({"allow": false, "access": "rwm"});
    let firn = Runtime::firn(&scratch);
    for (rules, opens) in [
        (json!([deny]), false),
        (json!([]), false),
        (json!([deny, rule(true, "rw")]), true),
        (json!([deny, rule(true, "rwm"), rule(false, "r")]), false),
        (json!([{"allow": true, "access": "rwm"}]), true),
        (json!([{"allow": true, "access": "rwm"}, rule(false, "rw")]), false),
    ] {
        let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
        let bundle = bundle.set("/linux/resources", json!({"devices": rules})).write();
        for view in ["true", V1, V2] {
            let output = run_in(view, &firn, &bundle).succeeds();
            assert_eq!(output.stdout.contains("opened fuse"), opens, "{rules} in {view:?}: {output:?}");
            assert_eq!(output.stdout.contains("Operation not permitted"), !opens, "{rules} in {view:?}: {output:?}");
            assert!(output.stdout.ends_with("1\nnull\n"), "{rules} in {view:?}: {output:?}");
            firn.left_nothing();
        }
    }
}

/// Also where the machine has the devices controller in no place, or has no cgroups.
#[test]
fn devices_are_denied_by_whatever_cgroup_there_is() {
    if lacks("devices") {
        return;
    }
    let scratch = Scratch::new("nodevices");
    let script = "( : < /dev/fuse ) && echo opened fuse; echo ran";
    let node = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]);
    let bundle = Bundle::new(&scratch).shell(script).set("/linux/devices", node);
    let mut bundle = bundle.set("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup");
    let bundle = bundle.write();
    let (firn, runc) = (Runtime::firn(&scratch), Runtime::new(program("runc", "runc"), &scratch));
    // All of the others in a place of their own, which goes over /sys/fs/cgroup.
    let place = scratch.directory("cgroup");
    let without = format!(
        "mount -t tmpfs none {0}; cd /sys/fs/cgroup; for d in *; do [ $d = devices ] || \
         {{ mkdir {0}/$d; mount --bind $d {0}/$d; }}; done; cd /; mount --move {0} /sys/fs/cgroup",
        place.display()
    );
    let v1_without = format!("{V1}; {without}; umount /sys/fs/cgroup/unified; rmdir /sys/fs/cgroup/unified");
    assert_eq!(run_in(&without, &firn, &bundle).succeeds().stdout, "ran\n");
    firn.left_nothing();
    for (view, says) in
        [(v1_without.as_str(), "devices"), ("mount -t tmpfs none /sys/fs/cgroup", "no cgroup hierarchy")]
    {
        let output = run_in(view, &firn, &bundle).fails(1);
        assert!(output.stderr.contains(says) && output.stdout.is_empty(), "{view}: {output:?}");
        firn.left_nothing();
        assert_eq!(run_in(view, &runc, &bundle).code, 1, "runc: {view}");
    }
}
