//! cgroups made by systemd: `firn --systemd-cgroup`, on either cgroup version.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command, wait_until};
use serde_json::json;
use std::process::Command;

fn systemd(firn: &Runtime, args: &[&str]) -> Output {
    command(&mut firn.command(&[&["--systemd-cgroup"], args].concat()))
}

fn show(unit: &str, property: &str) -> String {
    let output = command(Command::new("systemctl").args(["show", "--value", "--property", property, unit]));
    output.succeeds().stdout.trim().to_owned()
}

fn bundle(scratch: &Scratch, script: &str) -> Bundle {
    let path = format!("firntest-deep.slice:firn:{}", scratch.id());
    Bundle::new(scratch).shell(script).set("/linux/cgroupsPath", json!(path))
}

/// `create` with its output closed, as a container keeps it.
fn create(firn: &Runtime, bundle: &Bundle) {
    let mut line = firn.command(&["--systemd-cgroup", "create", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let log = std::fs::File::create(bundle.path.join("create.log")).unwrap();
    line.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(log);
    let status = line.status().unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(bundle.path.join("create.log")).unwrap());
}

#[test]
fn a_container_has_a_scope_with_its_limits() {
    let scratch = Scratch::new("scope");
    let bundle = bundle(&scratch, "sleep 1000")
        .set("/linux/resources/memory", json!({"limit": 64 << 20}))
        .set("/linux/resources/pids", json!({"limit": 33}))
        .set("/linux/resources/cpu", json!({"quota": 25_000, "period": 100_000}))
        .set(
            "/annotations",
            json!({"org.systemd.property.TimeoutStopUSec": "uint64 7000000",
            "org.systemd.property.CollectMode": "'inactive-or-failed'"}),
        )
        .write();
    let firn = Runtime::firn(&scratch);
    let unit = format!("firn-{}.scope", scratch.id());
    create(&firn, &bundle);
    assert_eq!(show(&unit, "ActiveState"), "active");
    assert_eq!(show(&unit, "Slice"), "firntest-deep.slice");
    assert_eq!(show(&unit, "Delegate"), "yes");
    assert_eq!(show(&unit, "TasksMax"), "33");
    assert_eq!(show(&unit, "CPUQuotaPerSecUSec"), "250ms");
    assert_eq!(show(&unit, "TimeoutStopUSec"), "7s");
    assert_eq!(show(&unit, "CollectMode"), "inactive-or-failed");
    let of_memory = if crate::has_cgroup_v2() { "MemoryMax" } else { "MemoryLimit" };
    assert_eq!(show(&unit, of_memory), (64 << 20).to_string());
    firn.start().succeeds();
    let pid = firn.state()["pid"].to_string();
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let place = format!("/firntest.slice/firntest-deep.slice/{unit}");
    assert!(cgroups.lines().all(|line| line.ends_with(&place) || line.ends_with(":/")), "{cgroups}");
    assert!(cgroups.matches(&place).count() >= if crate::has_cgroup_v2() { 1 } else { 5 }, "{cgroups}");
    let exec = firn.exec(&["sh", "-c", "echo $$; cat /proc/self/cgroup"]).succeeds();
    assert!(exec.stdout.lines().skip(1).all(|line| line.ends_with(":/")), "{exec:?}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    assert_eq!(show(&unit, "ActiveState"), "inactive");
    assert!(!std::path::Path::new("/sys/fs/cgroup").join(place.trim_start_matches('/')).exists());
}

/// systemd writes its units' cgroups anew when it reloads.
#[test]
fn limits_and_denied_devices_survive_a_reload() {
    let scratch = Scratch::new("reload");
    let script = "mknod /tmp/disk b 254 0; while :; do head -c 1 /tmp/disk >/dev/null 2>&1 && echo open >> /tmp/seen; \
                  head -c 1 /dev/zero >/dev/null || echo zero >> /tmp/seen; echo >> /tmp/rounds; sleep 0.1; done";
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "access": "m"}]);
    let bundle = bundle(&scratch, script)
        .set("/root/readonly", json!(false))
        .set("/linux/resources/devices", rules)
        .set("/linux/resources/pids", json!({"limit": 44}));
    let caps = json!(["CAP_MKNOD"]);
    let bundle = ["bounding", "effective", "permitted"]
        .into_iter()
        .fold(bundle, |bundle, set| bundle.set(&format!("/process/capabilities/{set}"), caps.clone()))
        .write();
    let firn = Runtime::firn(&scratch);
    create(&firn, &bundle);
    firn.start().succeeds();
    let rounds = || std::fs::read(bundle.root().join("tmp/rounds")).map_or(0, |text| text.len());
    for _ in 0..2 {
        command(Command::new("systemctl").arg("daemon-reload")).succeeds();
        let before = rounds();
        wait_until("the container has tried its devices again", || rounds() > before + 3);
    }
    assert!(bundle.root().join("tmp/disk").exists());
    assert!(!bundle.root().join("tmp/seen").exists(), "{:?}", std::fs::read_to_string(bundle.root().join("tmp/seen")));
    assert_eq!(show(&format!("firn-{}.scope", scratch.id()), "TasksMax"), "44");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

/// And so do those that were changed since.
#[test]
fn changed_limits_are_systemds_too() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("sdupdate");
    let bundle = bundle(&scratch, "sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    create(&firn, &bundle);
    let unit = format!("firn-{}.scope", scratch.id());
    let file = |name: &str| {
        let dir = std::path::Path::new("/sys/fs/cgroup/firntest.slice/firntest-deep.slice").join(&unit);
        std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
    };
    let args = ["update", "--memory", "48m", "--memory-swap", "64m", "--cpu-quota", "30000", "--cpuset-cpus", "1"];
    firn.call(&[&args[..], &[firn.id()]].concat()).succeeds();
    for _ in 0..2 {
        assert_eq!(file("memory.max"), (48 << 20).to_string());
        assert_eq!(file("memory.swap.max"), (16 << 20).to_string());
        assert_eq!(file("cpu.max"), "30000 100000");
        assert_eq!(file("cpuset.cpus"), "1");
        command(Command::new("systemctl").arg("daemon-reload")).succeeds();
    }
    assert_eq!(show(&unit, "MemoryMax"), (48 << 20).to_string());
    assert_eq!(show(&unit, "AllowedCPUs"), "1");
    let less = r#"{"memory":{"limit":4096,"checkBeforeUpdate":true}}"#;
    let path = scratch.write("less.json", less);
    let output = firn.call(&["update", "--resources", &path.to_string_lossy(), firn.id()]).fails(1);
    assert!(output.stderr.contains("unable to set memory.max to 4096 (current usage"), "{output:?}");
    assert_eq!(file("memory.max"), (48 << 20).to_string());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn a_run_leaves_no_unit_and_no_cgroup() {
    let scratch = Scratch::new("sdrun");
    let bundle = bundle(&scratch, "cat /proc/self/cgroup; exit 7").write();
    let firn = Runtime::firn(&scratch);
    let output = systemd(&firn, &["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]).fails(7);
    assert!(output.stdout.lines().count() > 0, "{output:?}");
    let unit = format!("firn-{}.scope", scratch.id());
    assert_eq!(show(&unit, "LoadState"), "not-found");
    firn.left_nothing();
    // What fails after the scope was made takes it away again.
    let broken = bundle.set("/process/args", json!(["/no/such/program"])).write();
    systemd(&firn, &["run", "--bundle", &broken.path.to_string_lossy(), firn.id()]).fails(1);
    assert_eq!(show(&unit, "LoadState"), "not-found");
    firn.left_nothing();
}

/// A unit of the same name is not taken for the container's when it fails.
#[test]
fn a_unit_of_somebody_else_is_left_alone() {
    let scratch = Scratch::new("sdtaken");
    let unit = format!("firn-{}.scope", scratch.id());
    let mut other = Command::new("systemd-run");
    other.args(["--scope", "--quiet", "--unit", &unit, "--slice", "firntest-other.slice", "sleep", "1000"]);
    let mut other = other.spawn().unwrap();
    wait_until("the unit is active", || show(&unit, "ActiveState") == "active");
    let bundle = bundle(&scratch, "true").write();
    let firn = Runtime::firn(&scratch);
    let output = systemd(&firn, &["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]).fails(1);
    assert!(output.stderr.contains("start unit"), "{output:?}");
    assert_eq!(show(&unit, "ActiveState"), "active", "{output:?}");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// What was there before is not the unit's: a frozen cgroup in its place is refused
/// before systemd is asked, and neither thawed nor removed.
#[test]
fn a_frozen_cgroup_in_the_units_place_is_left_alone() {
    let scratch = Scratch::new("sdfrozen");
    let unit = format!("firn-{}.scope", scratch.id());
    let (top, file, frozen) = match crate::has_cgroup_v2() {
        true => ("/sys/fs/cgroup", "cgroup.freeze", "1"),
        false => ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"),
    };
    let dir = std::path::Path::new(top).join("system.slice").join(&unit);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(file), frozen).unwrap();
    let bundle = bundle(&scratch, "true").set("/linux/cgroupsPath", json!("")).write();
    let firn = Runtime::firn(&scratch);
    for verb in ["run", "create"] {
        let output = systemd(&firn, &[verb, "--bundle", &bundle.path.to_string_lossy(), firn.id()]).fails(1);
        assert!(output.stderr.contains("container's cgroup unexpectedly frozen"), "{verb}: {output:?}");
        assert_eq!(std::fs::read_to_string(dir.join(file)).unwrap().trim(), frozen, "{verb}");
        assert_eq!(show(&unit, "LoadState"), "not-found", "{verb}");
    }
    std::fs::remove_dir(&dir).unwrap();
    firn.left_nothing();
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let scratch = Scratch::new("sdwrong");
    let firn = Runtime::firn(&scratch);
    let bundle = bundle(&scratch, "true");
    let said = |bundle: Bundle| {
        let bundle = bundle.write();
        let output = systemd(&firn, &["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]).fails(1);
        (output.stderr, bundle)
    };
    let (error, bundle) = said(bundle.set("/linux/cgroupsPath", json!("/a/b")));
    assert!(error.contains("slice:prefix:name"), "{error}");
    let (error, bundle) = said(bundle.set("/linux/cgroupsPath", json!("a..slice/x:b:c")));
    assert!(error.contains("is not the name of a slice"), "{error}");
    let annotations = json!({"org.systemd.property.TimeoutStopUSec": "soon"});
    let (error, bundle) = said(bundle.set("/linux/cgroupsPath", json!("")).set("/annotations", annotations));
    assert!(error.contains("is not a value"), "{error}");
    // What systemd itself refuses.
    let annotations = json!({"org.systemd.property.NoSuchThing": "5"});
    let (error, _) = said(bundle.set("/annotations", annotations));
    assert!(error.contains("systemd:") && error.contains("NoSuchThing"), "{error}");
    firn.left_nothing();
}

#[test]
fn a_paused_container_and_one_that_forks_are_deleted() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("sdpause");
    let bundle = bundle(&scratch, "for n in 1 2 3 4 5; do sleep 1000 & done; wait").write();
    let firn = Runtime::firn(&scratch);
    create(&firn, &bundle);
    firn.start().succeeds();
    firn.call(&["pause", firn.id()]).succeeds();
    assert_eq!(firn.status(), "paused");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    assert_eq!(show(&format!("firn-{}.scope", scratch.id()), "LoadState"), "not-found");
    firn.left_nothing();
}
