//! Limits: what the kernel enforces, and the same values in the same files as
//! under runc. On the cgroup layout of the machine, and in views of it that
//! have cgroup v1 alone or v2 alone.

use firn_conformance::harness::left::cgroups;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, binary, command, skip, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

const V1: &str = "umount /sys/fs/cgroup/unified 2>/dev/null";
const V2: &str = "test $(stat -fc %T /sys/fs/cgroup) = cgroup2fs || mount -t cgroup2 none /sys/fs/cgroup";

/// The line in a private mount namespace with another view of the cgroups.
fn in_view(view: &str, line: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "--propagation", "private", "sh", "-c", &format!("{view}; exec \"$@\""), "sh"]);
    unshare.arg(line.get_program()).args(line.get_args());
    unshare
}

fn run_in(view: &str, firn: &Runtime, bundle: &Bundle) -> Output {
    command(&mut in_view(view, &firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()])))
}

fn has_v1(controller: &str) -> bool {
    Path::new("/sys/fs/cgroup").join(controller).join("tasks").exists()
}

/// Whether a test of a cgroup v1 controller can run here.
fn lacks(controller: &str) -> bool {
    let lacks = !has_v1(controller);
    if lacks {
        skip(&format!("this machine has no {controller} controller of cgroup v1"));
    }
    lacks
}

fn with_attacker(bundle: Bundle) -> Bundle {
    std::fs::copy(binary("firn-attacker"), bundle.root().join("bin/attacker")).unwrap();
    bundle
}

#[test]
fn a_program_that_uses_more_memory_than_its_limit_is_killed() {
    if lacks("memory") {
        return;
    }
    let scratch = Scratch::new("oom");
    let bundle = with_attacker(Bundle::new(&scratch)).args(&["/bin/attacker", "hog", "256"]);
    let bundle = bundle.set("/linux/resources/memory", json!({"limit": 32 << 20})).write();
    let firn = Runtime::firn(&scratch);
    firn.run(&bundle).fails(137);
    firn.left_nothing();
    let bundle = bundle.args(&["/bin/attacker", "hog", "8"]).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "8 MiB\n");
    firn.left_nothing();
}

#[test]
fn a_container_can_not_have_more_processes_than_its_limit() {
    if lacks("pids") {
        return;
    }
    let scratch = Scratch::new("pids");
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all";
    let bundle = Bundle::new(&scratch).shell(script).set("/linux/resources/pids", json!({"limit": 5})).write();
    let firn = Runtime::firn(&scratch);
    for view in ["true", V1] {
        let output = run_in(view, &firn, &bundle);
        assert!(output.code != 0 && output.stderr.contains("can't fork"), "{output:?}");
        firn.left_nothing();
    }
    // 0 and -1 are no limits.
    for limit in [0, -1, 100] {
        let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
        let bundle = bundle.set("/linux/resources/pids", json!({"limit": limit})).write();
        assert_eq!(firn.run(&bundle).succeeds().stdout, "all\n", "{limit}");
    }
}

/// The files of a container's cgroups that hold limits, as another runtime of
/// the same config has them.
fn limits(runtime: &Runtime, bundle: &Bundle, is_ours: bool) -> Vec<String> {
    const FILES: [&str; 19] = [
        "memory.limit_in_bytes",
        "memory.soft_limit_in_bytes",
        "memory.swappiness",
        "memory.oom_control",
        "memory.memsw.limit_in_bytes",
        "pids.max",
        "cpu.shares",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.rt_runtime_us",
        "cpu.idle",
        "cpuset.cpus",
        "cpuset.mems",
        "devices.list",
        "blkio.weight",
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
        "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device",
    ];
    runtime.create(bundle).succeeds();
    let mut found = Vec::new();
    for dir in cgroups(runtime.id()) {
        for file in FILES {
            if let Ok(text) = std::fs::read_to_string(dir.join(file)) {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                found.push(format!("{}: {}", dir.join(file).display(), lines.join(", ")));
            }
        }
    }
    runtime.call(&["delete", "--force", runtime.id()]).succeeds();
    if is_ours {
        runtime.left_nothing();
    }
    // runc leaves a cgroup that is busy a moment longer, and succeeds.
    for dir in cgroups(runtime.id()) {
        wait_until("runc's cgroup is empty", || !dir.exists() || std::fs::remove_dir(&dir).is_ok());
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

#[track_caller]
fn same_as_runc(name: &str, resources: Value) {
    let scratch = Scratch::new(name);
    let bundle = Bundle::new(&scratch).shell("true").set("/linux/resources", resources).write();
    let theirs = limits(&Runtime::new(program("runc", "runc"), &scratch), &bundle, false);
    let ours = limits(&Runtime::firn(&scratch), &bundle, true);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "firn's first, then runc's");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn memory_limits_are_those_of_runc() {
    if lacks("memory") {
        return;
    }
    same_as_runc("r-mem", json!({"memory": {"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 10}}));
    same_as_runc("r-mem2", json!({"memory": {"limit": -1, "swappiness": 0}}));
    same_as_runc("r-mem3", json!({"memory": {"limit": 0, "reservation": 0}}));
    same_as_runc("r-mem4", json!({"memory": {"limit": 64 << 20, "disableOOMKiller": true}}));
    same_as_runc("r-mem5", json!({"memory": {"limit": 64 << 20, "kernel": 1 << 20, "kernelTCP": 1 << 20}}));
}

#[test]
fn cpu_limits_are_those_of_runc() {
    if lacks("cpu") {
        return;
    }
    same_as_runc("r-cpu", json!({"cpu": {"shares": 512, "quota": 20000, "period": 50000}}));
    same_as_runc("r-cpu2", json!({"cpu": {"shares": 2, "period": 200_000}}));
    same_as_runc("r-cpu3", json!({"cpu": {"shares": 0, "quota": 0, "period": 0}}));
    same_as_runc("r-cpu4", json!({"cpu": {"quota": -1}}));
    same_as_runc("r-cpu5", json!({"cpu": {"shares": 262_144}}));
    same_as_runc("r-cpuset", json!({"cpu": {"cpus": "0", "mems": "0"}}));
    same_as_runc("r-cpuset2", json!({"cpu": {"cpus": "0-1"}}));
}

#[test]
fn other_limits_are_those_of_runc() {
    same_as_runc("r-none", json!({}));
    same_as_runc("r-pids", json!({"pids": {"limit": 77}}));
    same_as_runc("r-pids2", json!({"pids": {"limit": -1}}));
    // Of a disk that is here, if there is one.
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let number = |disk: std::fs::DirEntry| std::fs::read_to_string(disk.path().join("dev")).ok();
    let Some(disk) = disks.filter_map(number).find(|_| has_v1("blkio")) else {
        skip("no disk under the blkio controller of cgroup v1");
        return;
    };
    let (major, minor) = disk.trim().split_once(':').unwrap();
    let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
    let limit = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    same_as_runc(
        "r-blkio",
        json!({"blockIO": {
            "throttleReadBpsDevice": limit(1 << 20),
            "throttleWriteBpsDevice": limit(2 << 20),
            "throttleReadIOPSDevice": limit(300),
            "throttleWriteIOPSDevice": limit(400)
        }}),
    );
    if !Path::new("/sys/fs/cgroup/blkio/blkio.weight").exists() {
        skip("no blkio.weight in this kernel");
        return;
    }
    same_as_runc("r-weight", json!({"blockIO": {"weight": 200}}));
}

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

/// What is denied is EPERM whoever asks; on cgroup v2 by a program.
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
    let place = scratch.folder("cgroup");
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

/// The whole life on each layout, with freezing and killing.
#[test]
fn a_container_lives_on_every_layout() {
    for (number, view) in ["true", V1, V2].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("layout{number}"));
        let bundle = Bundle::new(&scratch).shell("sleep 1000 & sleep 1000").write();
        let firn = Runtime::firn(&scratch);
        let call = |args: &[&str]| {
            let line = in_view(view, &firn.command(args));
            // The container keeps the streams.
            let mut quiet = Command::new("sh");
            let script = "\"$@\" > $0 2>&1 < /dev/null; code=$?; cat $0; exit $code";
            quiet.args(["-c", script]).arg(scratch.join("out")).arg(line.get_program()).args(line.get_args());
            command(&mut quiet).succeeds().stdout
        };
        call(&["create", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
        call(&["start", firn.id()]);
        assert_eq!(
            call(&["exec", firn.id(), "cat", "/proc/self/cgroup"]),
            call(&["exec", firn.id(), "cat", "/proc/1/cgroup"])
        );
        call(&["pause", firn.id()]);
        assert!(call(&["state", firn.id()]).contains("\"paused\""), "{view}");
        call(&["resume", firn.id()]);
        assert!(call(&["state", firn.id()]).contains("\"running\""), "{view}");
        let pids = call(&["ps", "--format", "json", firn.id()]);
        let pids: Value = serde_json::from_str(&pids).unwrap_or_else(|error| panic!("{view}: {error}: {pids}"));
        assert!(pids.as_array().unwrap().len() >= 2, "{pids}");
        call(&["kill", "--all", firn.id(), "KILL"]);
        call(&["delete", "--force", firn.id()]);
        firn.left_nothing();
    }
}

/// cgroup v2: `unified` is written as it stands, and a controller that the host
/// can't hand down is a clear error that leaves nothing.
#[test]
fn a_limit_that_the_host_can_not_give_is_a_clear_error() {
    let scratch = Scratch::new("nolimit");
    let base = Bundle::new(&scratch).shell("true");
    let firn = Runtime::firn(&scratch);
    let run = |view: &str, resources: Value| {
        let bundle = Bundle { path: base.path.clone(), config: base.config.clone() };
        let bundle = bundle.set("/linux/resources", resources).write();
        let output = run_in(view, &firn, &bundle);
        firn.left_nothing();
        assert_eq!(output.code, 1, "{}: {output:?}", bundle.config["linux"]["resources"]);
        output.stderr
    };
    let has_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if has_v2 {
        skip("this machine's cgroup v2 has the controllers to give");
    } else {
        for (controller, resources) in [
            ("memory", json!({"memory": {"limit": 64 << 20}})),
            ("pids", json!({"pids": {"limit": 5}})),
            ("cpu", json!({"cpu": {"shares": 5}})),
            ("cpuset", json!({"cpu": {"cpus": "0"}})),
            ("memory", json!({"unified": {"memory.high": "1000000"}})),
        ] {
            let error = run(V2, resources.clone());
            assert!(error.contains(&format!("limit of the {controller} controller")), "{resources}: {error}");
        }
        if !has_v1("net_cls") {
            assert!(run("true", json!({"network": {"classID": 5}})).contains("net_cls"));
        }
    }
    assert!(run(V2, json!({"unified": {"../cgroup.procs": "1"}})).contains("is not a file name"));
    assert!(run(V2, json!({"unified": {"none.max": "1"}})).contains("controller `none` is not available"));
    let error = run("true", json!({"cpu": {"cpus": "0-4000"}}));
    assert!(error.contains("cpuset.cpus"), "{error}");
    let error = run("true", json!({"cpu": {"mems": "99"}}));
    assert!(error.contains("cpuset.mems"), "{error}");
    let error = run("true", json!({"cpu": {"quota": 1}}));
    assert!(error.contains(if has_v2 { "cpu.max" } else { "cpu.cfs_quota_us" }), "{error}");
}

#[test]
fn unified_settings_are_written_on_cgroup_v2() {
    let scratch = Scratch::new("unified");
    let script = "cat /sys/fs/cgroup/cgroup.max.depth /sys/fs/cgroup/cgroup.max.descendants";
    let unified = json!({"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "7"}});
    let bundle = Bundle::new(&scratch).shell(script).set("/linux/resources", unified).write();
    let firn = Runtime::firn(&scratch);
    assert_eq!(run_in(V2, &firn, &bundle).succeeds().stdout, "3\n7\n");
    firn.left_nothing();
}

#[test]
fn huge_pages_are_limited_by_whichever_version_has_them() {
    let scratch = Scratch::new("huge");
    let script =
        "cat /sys/fs/cgroup/hugetlb.2MB.max /sys/fs/cgroup/hugetlb/hugetlb.2MB.limit_in_bytes 2>/dev/null; exit 0";
    let limit = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]});
    let bundle = Bundle::new(&scratch).shell(script).set("/linux/resources", limit).write();
    let firn = Runtime::firn(&scratch);
    let view = if has_v1("hugetlb") { "true" } else { V2 };
    let output = run_in(view, &firn, &bundle);
    firn.left_nothing();
    if output.code != 0 && output.stderr.contains("limit of the hugetlb controller") {
        skip("this machine has no hugetlb controller");
        return;
    }
    assert_eq!(output.succeeds().stdout, "2097152\n");
}

/// Absolute from the mount point, relative from the runtime's own cgroup, and
/// without a path by the container's name.
#[test]
fn cgroups_paths_lead_where_runc_has_them() {
    let scratch = Scratch::new("cgpath");
    let name = scratch.id();
    let base = Bundle::new(&scratch).shell("sleep 1000");
    for path in [format!("/{name}/a/b"), format!("{name}/c"), name.clone(), String::new()] {
        let bundle = Bundle { path: base.path.clone(), config: base.config.clone() };
        let bundle = bundle.set("/linux/cgroupsPath", json!(path)).write();
        let cgroup = |runtime: &Runtime| {
            runtime.create(&bundle).succeeds();
            let text = std::fs::read_to_string(format!("/proc/{}/cgroup", runtime.state()["pid"])).unwrap();
            runtime.call(&["delete", "--force", runtime.id()]).succeeds();
            text
        };
        let ours = cgroup(&Runtime::firn(&scratch));
        let theirs = cgroup(&Runtime::new(program("runc", "runc"), &scratch));
        // On a hybrid host runc leaves out what it finds no place for, and this
        // one knows no misc controller.
        let left_out = |line: &str| line.starts_with("0:") || line.contains(":misc:");
        for (ours, theirs) in ours.lines().zip(theirs.lines()).filter(|(_, theirs)| !left_out(theirs)) {
            assert_eq!(ours, theirs, "for {path:?}: firn's first, then runc's");
        }
        remove_empty(&name);
    }
}

/// What lay above a container's cgroup stays, as under runc: it was the test's.
fn remove_empty(name: &str) {
    for dir in cgroups(name) {
        for below in ["a/b", "a", "c", "below", ""] {
            let _ = std::fs::remove_dir(dir.join(below));
        }
    }
    assert!(cgroups(name).is_empty(), "{:?}", cgroups(name));
}

#[test]
fn cgroups_that_a_container_makes_go_with_it() {
    let scratch = Scratch::new("nested");
    let script =
        "for d in /sys/fs/cgroup/*/; do [ -L ${d%/} ] || mkdir -p $d/one/two; done; mkdir -p /sys/fs/cgroup/one/two;
        ls -d /sys/fs/cgroup/one/two /sys/fs/cgroup/*/one/two 2>/dev/null | wc -l; sleep 1000 & exit 0";
    let bundle =
        Bundle::new(&scratch).shell(script).set("/mounts/6/options", json!(["nosuid", "noexec", "nodev"])).write();
    let firn = Runtime::firn(&scratch);
    for view in ["true", V1, V2] {
        let output = run_in(view, &firn, &bundle).succeeds();
        assert!(output.stdout.trim().parse::<u32>().unwrap() >= 1, "{view}: {output:?}");
        firn.left_nothing();
    }
}

/// A cgroup in which something runs already is somebody else's: it must not be
/// taken, and above all not be cleared.
#[test]
fn a_cgroup_of_another_container_is_left_alone() {
    let scratch = Scratch::new("taken");
    let other = Scratch::new("owner");
    let bundle = Bundle::new(&other).shell("sleep 1000").write();
    let owner = Runtime::firn(&other);
    owner.create(&bundle).succeeds();
    owner.start().succeeds();
    let taken = Bundle::new(&scratch).shell("true").set("/linux/cgroupsPath", json!(format!("/{}", other.id())));
    let firn = Runtime::firn(&scratch);
    let wrong = json!({"destination": "/x", "type": "bind", "source": "/nosuch/source", "options": ["bind"]});
    let failing = Bundle { path: scratch.folder("failing"), config: taken.config.clone() };
    let failing = failing.set("/root/path", json!(taken.root())).mount(wrong).write();
    let taken = taken.write();
    assert_ne!(firn.run(&failing).code, 0);
    assert_eq!(owner.status(), "running", "a create that failed has killed another container");
    let output = firn.create(&taken);
    assert!(output.code != 0 && output.stderr.contains("cgroup"), "{output:?}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    assert_eq!(owner.status(), "running", "delete has killed another container");
    // It may have moved everything below its top, as a systemd inside does.
    for top in cgroups(owner.id()) {
        let below = top.join("below");
        // On cgroup v1 some hierarchies have several names.
        std::fs::create_dir_all(&below).unwrap();
        for pid in std::fs::read_to_string(top.join("cgroup.procs")).unwrap().lines() {
            // A cpuset of v1 takes nobody before it has processors.
            let _ = std::fs::write(below.join("cgroup.procs"), pid);
        }
    }
    let output = firn.create(&taken);
    assert!(output.code != 0 && output.stderr.contains("container's cgroup is not empty"), "{output:?}");
    assert_eq!(owner.status(), "running", "a create has killed a container below");
    owner.call(&["delete", "--force", owner.id()]).succeeds();
    owner.left_nothing();
}

/// What somebody else has frozen stays so, although nothing is in it: neither a `run`
/// that is refused nor a `delete` after one that was killed takes it for its own.
#[test]
fn a_frozen_cgroup_that_was_there_is_left_alone() {
    if lacks("freezer") {
        return;
    }
    let scratch = Scratch::new("frozen");
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    let path = bundle.path.to_string_lossy().into_owned();
    let firn = Runtime::firn(&scratch);
    let name = format!("{}-theirs", scratch.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!("/{name}"))).write();
    let (v1, v2) = (Path::new("/sys/fs/cgroup/freezer").join(&name), Path::new("/sys/fs/cgroup/unified").join(&name));
    let frozen: [(&str, &Path, &str, &str); 2] =
        [(V1, &v1, "freezer.state", "FROZEN"), (V2, &v2, "cgroup.freeze", "1")];
    for (view, dir, file, state) in frozen {
        let Some(true) = dir.parent().map(|top| top.join("cgroup.procs").exists()) else {
            skip(&format!("this machine has no {}", dir.parent().unwrap().display()));
            continue;
        };
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join(file), state).unwrap();
        let is_as_it_was = || std::fs::read_to_string(dir.join(file)).is_ok_and(|text| text.trim() == state);
        let output = run_in(view, &firn, &bundle).fails(1);
        assert!(output.stderr.contains("container's cgroup unexpectedly frozen"), "{view}: {output:?}");
        assert!(is_as_it_was(), "{view}: a run that was refused");
        // Killed in any call that makes a directory.
        let calls = ["mkdir", "mkdirat"].into_iter().flat_map(|call| (1..15).map(move |turn| (call, turn)));
        for (call, turn) in calls {
            let mut strace = Command::new(program("strace", "strace"));
            strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            strace.arg(format!("inject={call}:signal=KILL:when={turn}"));
            let run = firn.command(&["run", "--bundle", &path, firn.id()]);
            strace.arg(run.get_program()).args(run.get_args());
            let output = command(&mut in_view(view, &strace));
            command(&mut in_view(view, &firn.command(&["delete", "--force", firn.id()]))).succeeds();
            assert!(is_as_it_was(), "{view}: a run that was killed in {call} {turn}");
            assert!([1, 137].contains(&output.code), "{output:?}");
        }
        std::fs::remove_dir(dir).unwrap();
    }
    for dir in cgroups(&name) {
        std::fs::remove_dir(dir).unwrap();
    }
    firn.left_nothing();
}

#[test]
fn exec_goes_into_a_cgroup_below_and_never_above() {
    if lacks("pids") {
        return;
    }
    let scratch = Scratch::new("execcg");
    let bundle = Bundle::new(&scratch).shell("mkdir /sys/fs/cgroup/pids/below; sleep 1000");
    let bundle = bundle.set("/mounts/6/options", json!(["nosuid"])).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let inside = Path::new("/sys/fs/cgroup/pids").join(firn.id()).join("below");
    wait_until("the cgroup below is made", || inside.exists());
    let exec = |cgroup: &str| firn.call(&["exec", "--cgroup", cgroup, firn.id(), "grep", "pids", "/proc/self/cgroup"]);
    assert!(exec("pids:below").succeeds().stdout.ends_with(":/below\n"));
    assert!(exec("pids:/below").succeeds().stdout.ends_with(":/below\n"));
    for wrong in ["pids:../", "pids:below/../..", "nosuch:below", "pids:nosuch", ".."] {
        exec(wrong).fails(255);
    }
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

fn file(controller: &str, firn: &Runtime, name: &str) -> String {
    let path = Path::new("/sys/fs/cgroup").join(controller).join(firn.id()).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

#[test]
fn limits_are_changed_while_the_container_runs() {
    if lacks("memory") || lacks("pids") || lacks("cpu") {
        return;
    }
    let scratch = Scratch::new("update");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").set("/linux/resources/pids", json!({"limit": 50})).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    let update = |args: &[&str]| firn.call(&[&["update"], args, &[firn.id()]].concat());
    update(&["--memory", "64m", "--memory-reservation", "32m", "--pids-limit", "20", "--cpu-share", "512"]).succeeds();
    assert_eq!(file("memory", &firn, "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(file("memory", &firn, "memory.soft_limit_in_bytes"), (32 << 20).to_string());
    assert_eq!(file("pids", &firn, "pids.max"), "20");
    assert_eq!(file("cpu", &firn, "cpu.shares"), "512");
    // A quota without a period has the period that was given before, and what is
    // not named stays.
    update(&["--cpu-period", "50000", "--cpu-quota", "10000"]).succeeds();
    update(&["--cpu-quota", "20000"]).succeeds();
    assert_eq!(file("cpu", &firn, "cpu.cfs_period_us"), "50000");
    assert_eq!(file("cpu", &firn, "cpu.cfs_quota_us"), "20000");
    assert_eq!(file("pids", &firn, "pids.max"), "20");
    // As engines do it: a file, in which zero and null are not set.
    let resources =
        r#"{"memory":{"limit":0,"swap":null},"cpu":{"shares":256,"quota":0,"cpus":"0"},"pids":{"limit":-1}}"#;
    let path = scratch.write("resources.json", resources);
    update(&["--resources", &path.to_string_lossy()]).succeeds();
    assert_eq!(file("cpu", &firn, "cpu.shares"), "256");
    assert_eq!(file("cpu", &firn, "cpu.cfs_quota_us"), "20000");
    assert_eq!(file("cpuset", &firn, "cpuset.cpus"), "0");
    assert_eq!(file("pids", &firn, "pids.max"), "max");
    assert_eq!(file("memory", &firn, "memory.limit_in_bytes"), (64 << 20).to_string());
    // In any case, as Go's decoder takes them.
    let path = scratch.write("resources.json", r#"{"Pids":{"LIMIT":30},"hugepagelimits":[],"blockio":null}"#);
    update(&["--resources", &path.to_string_lossy()]).succeeds();
    assert_eq!(file("pids", &firn, "pids.max"), "30");
    assert_eq!(file("cpu", &firn, "cpu.shares"), "256");
    for (wrong, says) in [
        (&["--memory", "much"][..], "is not a size"),
        (&["--cpuset-cpus", "999"], "cpuset.cpus"),
        (&["--resources", "/no/such/file"], "no such file"),
        (&["--l3-cache-schema", "L3:0=f"], "Intel RDT"),
    ] {
        let output = update(wrong).fails(1);
        assert!(output.stderr.contains(says), "{output:?}");
    }
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    assert!(update(&["--memory", "64m"]).fails(1).stderr.contains("does not exist"));
    firn.left_nothing();
}

/// Statistics at once and over time, and what the kernel killed for memory.
/// Real-time limits are of cgroup v1 alone.
#[test]
fn real_time_limits_are_written_where_the_kernel_has_them() {
    if lacks("cpu") {
        return;
    }
    let scratch = Scratch::new("rt");
    let firn = Runtime::firn(&scratch);
    firn.create(&Bundle::new(&scratch).shell("sleep 1000").write()).succeeds();
    let has = Path::new("/sys/fs/cgroup/cpu").join(firn.id()).join("cpu.rt_runtime_us").exists();
    let output = firn.call(&["update", "--cpu-rt-period", "900000", firn.id()]);
    if has {
        output.succeeds();
        assert_eq!(file("cpu", &firn, "cpu.rt_period_us"), "900000");
    } else {
        let output = output.fails(1);
        assert!(output.stderr.contains("cpu.rt_period_us: no such file or directory"), "{output:?}");
    }
}

#[test]
fn events_tell_what_a_container_uses_and_that_memory_ran_out() {
    if lacks("memory") || lacks("pids") || lacks("cpuacct") {
        return;
    }
    let scratch = Scratch::new("events");
    let script = "until [ -e /go/hog ]; do sleep 0.1; done; /bin/attacker hog 256
        until [ -e /go/end ]; do sleep 0.1; done";
    let go = scratch.folder("go");
    let bundle = with_attacker(Bundle::new(&scratch)).shell(script);
    let bundle = bundle.mount(json!({"destination": "/go", "type": "bind", "source": go, "options": ["bind"]}));
    let resources = json!({"memory": {"limit": 32 << 20}, "pids": {"limit": 33}});
    let bundle = bundle.set("/linux/resources", resources).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    let stats = firn.call(&["events", "--stats", firn.id()]).succeeds().stdout;
    let event: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(firn.id())));
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], json!(32 << 20), "{stats}");
    assert_eq!(data["pids"], json!({"current": 1, "limit": 33}));
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0 && data["memory"]["raw"]["rss"].is_u64(), "{stats}");
    // It listens until the container ends.
    let mut listen = firn.command(&["events", "--interval", "500ms", firn.id()]);
    let mut listener = listen.stdout(std::process::Stdio::piped()).spawn().unwrap();
    firn.start().succeeds();
    let mut kinds = Vec::new();
    for line in BufReader::new(listener.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        kinds.push(event["type"].as_str().unwrap().to_owned());
        let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
        if count("stats") >= 1 {
            std::fs::write(go.join("hog"), "").unwrap();
        }
        if count("stats") >= 3 && count("oom") == 1 {
            std::fs::write(go.join("end"), "").unwrap();
        }
    }
    assert!(listener.wait().unwrap().success());
    assert_eq!(kinds.iter().filter(|kind| *kind == "oom").count(), 1, "{kinds:?}");
    assert!(firn.call(&["events", "--stats", firn.id()]).fails(1).stderr.contains("container not running"));
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn a_limit_of_no_processes_is_one_since_1_3() {
    if lacks("pids") {
        return;
    }
    let scratch = Scratch::new("nopids");
    let firn = Runtime::firn(&scratch);
    for (version, limit) in [("1.0.2", "max"), ("1.2.1", "max"), ("1.3.0", "1")] {
        let bundle = Bundle::new(&scratch).args(&["cat", "/sys/fs/cgroup/pids/pids.max"]);
        let bundle = bundle.set("/linux/resources/pids", json!({"limit": 0})).set("/ociVersion", json!(version));
        assert_eq!(firn.run(&bundle.write()).succeeds().stdout.trim(), limit, "{version}");
        firn.left_nothing();
        std::fs::remove_dir_all(scratch.join("bundle")).unwrap();
    }
}

/// The intermediate process of an exec counts in no limit that its program keeps: it
/// makes room for it, and the program is in the cgroup all the same.
#[test]
fn exec_needs_room_for_its_program_alone() {
    let scratch = Scratch::new("execroom");
    let bundle = Bundle::new(&scratch)
        .args(&["sleep", "1000"])
        .set("/linux/resources/pids", json!({"limit": 2}))
        .without_namespace("cgroup")
        .write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let own = format!("/{}", firn.id());
    for user in ["0", "1000"] {
        let output = firn.call(&["exec", "--user", user, firn.id(), "cat", "/proc/self/cgroup"]).succeeds();
        assert!(output.stdout.lines().all(|line| line.ends_with(&own)), "{user}: {output:?}");
        assert!(output.stdout.contains(":pids:"), "{output:?}");
    }
    firn.call(&["exec", firn.id(), "sh", "-c", "exit 7"]).fails(7);
    // It is kept to the limit.
    let output = firn.exec(&["sh", "-c", "ls & wait; echo no"]);
    assert!(output.stderr.contains("can't fork"), "{output:?}");
    let traced = firn.exec(&["grep", "^TracerPid", "/proc/self/status"]).succeeds();
    assert_eq!(traced.stdout, "TracerPid:\t0\n");
}
