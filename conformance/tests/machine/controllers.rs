//! cgroup v2: each controller does to a container what its config asks for.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::{Bundle, Runtime, Scratch, binary, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn cgroup(firn: &Runtime) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(firn.id())
}

fn read(firn: &Runtime, file: &str) -> String {
    let path = cgroup(firn).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The number after `key` in a flat keyed file.
fn count(firn: &Runtime, file: &str, key: &str) -> u64 {
    let text = read(firn, file);
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {key} in {text}"))
}

fn bundle(scratch: &Scratch, resources: Value) -> Bundle {
    let bundle = Bundle::new(scratch).set("/linux/resources", resources);
    std::fs::copy(binary("firn-attacker"), bundle.root().join("bin/attacker")).unwrap();
    bundle
}

#[test]
fn memory_over_the_limit_is_killed_and_counted() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2oom");
    let resources = json!({"memory": {"limit": 32 << 20, "swap": 32 << 20, "reservation": 16 << 20}});
    let script = "attacker hog 8; attacker hog 256; echo $?; sleep 1000";
    let bundle = bundle(&scratch, resources).shell(script).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    assert_eq!(read(&firn, "memory.max").trim(), (32 << 20).to_string());
    assert_eq!(read(&firn, "memory.swap.max").trim(), "0");
    assert_eq!(read(&firn, "memory.low").trim(), (16 << 20).to_string());
    firn.start().succeeds();
    wait_until("something is killed", || count(&firn, "memory.events", "oom_kill") > 0);
    assert_eq!(firn.status(), "running");
    let stats = firn.call(&["events", "--stats", firn.id()]).succeeds().stdout;
    let event: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(event["data"]["memory"]["usage"]["limit"], json!(32 << 20), "{stats}");
    assert!(event["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 1_000_000, "{stats}");
    assert!(event["data"]["pids"]["current"].as_u64().unwrap() >= 1, "{stats}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn no_more_processes_than_allowed() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2pids");
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all";
    let firn = Runtime::firn(&scratch);
    let limited = bundle(&scratch, json!({"pids": {"limit": 5}})).shell(script).write();
    let output = firn.run(&limited);
    assert!(output.code != 0 && output.stderr.contains("can't fork"), "{output:?}");
    let free = limited.set("/linux/resources", json!({"pids": {"limit": -1}})).write();
    assert_eq!(firn.run(&free).succeeds().stdout, "all\n");
    firn.left_nothing();
}

#[test]
fn a_quota_of_processor_time_holds() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2cpu");
    let resources = json!({"cpu": {"quota": 10_000, "period": 100_000, "burst": 1000, "shares": 512}});
    let bundle = bundle(&scratch, resources).shell("while :; do :; done").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    assert_eq!(read(&firn, "cpu.max").trim(), "10000 100000");
    assert_eq!(read(&firn, "cpu.max.burst").trim(), "1000");
    firn.start().succeeds();
    let (begin, before) = (Instant::now(), count(&firn, "cpu.stat", "usage_usec"));
    wait_until("it has been throttled", || count(&firn, "cpu.stat", "nr_throttled") > 10);
    let used = count(&firn, "cpu.stat", "usage_usec") - before;
    let share = used as f64 / begin.elapsed().as_micros() as f64;
    // A tenth, and what the burst and the beginning of a period add.
    assert!(share < 0.2, "{share:.2} of a processor");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn only_the_processors_of_the_set_are_used() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2cpuset");
    let bundle = bundle(&scratch, json!({"cpu": {"cpus": "1", "mems": "0"}}));
    let bundle =
        bundle.shell("grep Cpus_allowed_list /proc/self/status; cat /sys/fs/cgroup/cpuset.cpus.effective").write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle).succeeds().stdout;
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["Cpus_allowed_list:", "1", "1"]);
    let wrong = bundle.set("/linux/resources", json!({"cpu": {"cpus": "77"}})).write();
    let output = firn.run(&wrong).fails(1);
    assert!(output.stderr.contains("cpuset.cpus"), "{output:?}");
    firn.left_nothing();
}

/// The device that the root lies on.
fn disk() -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata("/var").unwrap().dev();
    (rustix::fs::major(device), rustix::fs::minor(device))
}

#[test]
fn writes_to_a_disk_are_slowed_down() {
    if lacks_cgroup_v2() {
        return;
    }
    let (major, minor) = disk();
    let scratch = Scratch::new("v2io");
    let throttle = json!([{"major": major, "minor": minor, "rate": 1 << 20}]);
    let resources = json!({"blockIO": {"throttleWriteBpsDevice": throttle, "weight": 200}});
    let kept = std::path::PathBuf::from("/var/firn-io");
    std::fs::create_dir_all(&kept).unwrap();
    let script = "dd if=/dev/zero of=/kept/file bs=64k count=64 conv=fsync 2>/dev/null; rm /kept/file";
    let bundle = bundle(&scratch, resources).shell(script);
    let bundle = bundle.mount(json!({"destination": "/kept", "source": kept, "options": ["bind", "rw"]})).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    assert_eq!(read(&firn, "io.max").trim(), format!("{major}:{minor} rbps=max wbps=1048576 riops=max wiops=max"));
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    let begin = Instant::now();
    firn.run(&bundle).succeeds();
    // 4 MiB at 1 MiB a second.
    assert!(begin.elapsed() > Duration::from_secs(3), "{:?}", begin.elapsed());
    std::fs::remove_dir_all(&kept).unwrap();
    firn.left_nothing();
}

#[test]
fn a_device_is_only_what_the_rules_make_it() {
    if lacks_cgroup_v2() {
        return;
    }
    let (major, minor) = disk();
    let scratch = Scratch::new("v2dev");
    let script = "mknod /dev/disk b $1 $2; head -c 1 /dev/disk >/dev/null; echo $?; (: >> /dev/disk); echo $?";
    let caps = json!(["CAP_MKNOD"]);
    let run = |rules: Value| {
        let bundle = bundle(&scratch, json!({"devices": rules}));
        let bundle = bundle.args(&["sh", "-c", script, "sh", &major.to_string(), &minor.to_string()]);
        let bundle = ["bounding", "effective", "permitted"]
            .into_iter()
            .fold(bundle, |bundle, set| bundle.set(&format!("/process/capabilities/{set}"), caps.clone()));
        let bundle = bundle.set("/root/readonly", json!(false)).write();
        let firn = Runtime::firn(&scratch);
        let output = firn.run(&bundle).succeeds();
        firn.left_nothing();
        std::fs::remove_dir_all(&bundle.path).unwrap();
        output.stdout
    };
    let none = json!([{"allow": false, "access": "rwm"}]);
    let node = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "m"});
    let read = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "rm"});
    assert_eq!(run(none.clone()), "1\n1\n");
    assert_eq!(run(json!([none[0], node])), "1\n1\n");
    assert_eq!(run(json!([none[0], read])), "0\n1\n");
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2freeze");
    let bundle = bundle(&scratch, json!({})).shell("while :; do :; done").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn.call(&["pause", firn.id()]).succeeds();
    assert_eq!(firn.status(), "paused");
    let used = count(&firn, "cpu.stat", "usage_usec");
    // Five times the period after which the scheduler would have run it.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(count(&firn, "cpu.stat", "usage_usec"), used);
    firn.call(&["resume", firn.id()]).succeeds();
    wait_until("it uses the processor again", || count(&firn, "cpu.stat", "usage_usec") > used);
    firn.call(&["pause", firn.id()]).succeeds();
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

/// Controllers are handed down to a cgroup that lies deeper.
#[test]
fn a_cgroup_below_others_has_its_controllers() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2deep");
    let path = format!("/firn-deep-{}/a/{}", std::process::id(), scratch.id());
    let resources = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "cpu": {"cpus": "0", "shares": 100},
        "unified": {"memory.high": "60000000", "cgroup.max.depth": "3"}});
    let script =
        "cd /sys/fs/cgroup; cat memory.max memory.high pids.max cpuset.cpus cgroup.max.depth; cat /proc/self/cgroup";
    let bundle = bundle(&scratch, resources).shell(script).set("/linux/cgroupsPath", json!(path)).write();
    let firn = Runtime::firn(&scratch);
    let high = 60_000_000 / 4096 * 4096;
    assert_eq!(firn.run(&bundle).succeeds().stdout, format!("{}\n{high}\n20\n0\n3\n0::/\n", 64 << 20));
    firn.left_nothing();
    let top = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/').split('/').next().unwrap());
    std::fs::remove_dir(top.join("a")).unwrap();
    std::fs::remove_dir(top).unwrap();
}

/// A frozen process of cgroup v2 dies, also when somebody else has frozen it.
#[test]
fn what_lies_below_a_frozen_cgroup_can_be_deleted() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2above");
    let above = format!("firn-above-{}", std::process::id());
    let path = json!(format!("/{above}/{}", scratch.id()));
    let bundle = bundle(&scratch, json!({})).shell("sleep 1000").set("/linux/cgroupsPath", path).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn.call(&["pause", firn.id()]).succeeds();
    let above = Path::new("/sys/fs/cgroup").join(above);
    std::fs::write(above.join("cgroup.freeze"), "1").unwrap();
    let error = firn.call(&["resume", firn.id()]).fails(1).stderr;
    assert!(error.contains("it stays frozen; is a parent cgroup frozen?"), "{error}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    std::fs::remove_dir(above).unwrap();
}

#[test]
fn what_forks_without_end_is_killed_as_one() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("v2kill");
    let script = "f() { sleep 1000 & }; for n in 1 2 3 4 5 6 7 8; do (f; f; f; sleep 1000) & done; wait";
    let bundle = bundle(&scratch, json!({})).shell(script).without_namespace("pid").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    wait_until("it has forked", || read(&firn, "cgroup.procs").lines().count() > 8);
    firn.call(&["kill", "--all", firn.id(), "KILL"]).succeeds();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}
