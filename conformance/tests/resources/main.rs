//! Limits: what the kernel enforces, and the same values in the same files as
//! under runc. On the cgroup layout of the machine, and in views of it that
//! have cgroup v1 alone or v2 alone.

mod devices;
mod places;

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
    let go = scratch.directory("go");
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
