//! cgroup v2: the same config gives the same values in the same files under
//! firn, crun and runc.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Files of a cgroup that tell what is, and not what may be.
const TELLING: [&str; 14] = [
    ".stat",
    ".events",
    ".current",
    ".pressure",
    ".procs",
    ".threads",
    ".peak",
    ".kill",
    ".reclaim",
    ".controllers",
    ".effective",
    ".numa_stat",
    ".local",
    ".type",
];

fn limits(runtime: &Runtime, bundle: &Bundle) -> BTreeMap<String, String> {
    runtime.create(bundle).succeeds();
    let dir = Path::new("/sys/fs/cgroup").join(runtime.id());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if TELLING.iter().any(|end| name.ends_with(end)) || entry.path().is_dir() {
            continue;
        }
        if let Ok(text) = std::fs::read_to_string(entry.path()) {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            found.insert(name, lines.join(", "));
        }
    }
    runtime.call(&["delete", "--force", runtime.id()]).succeeds();
    assert!(found.contains_key("memory.max"), "{found:?}");
    found
}

/// Where the two peers agree, firn does as they do; else as runc.
#[track_caller]
fn same(name: &str, resources: Value) {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new(name);
    let bundle = Bundle::new(&scratch).shell("true").set("/linux/resources", resources).write();
    let of = |name| limits(&Runtime::new(program(name, name), &scratch), &bundle);
    let (runc, crun) = (of("runc"), of("crun"));
    let runtime = Runtime::firn(&scratch);
    let firn = limits(&runtime, &bundle);
    runtime.left_nothing();
    for (file, ours) in &firn {
        let (runc, crun) = (&runc[file], &crun[file]);
        if is_of_old_peers(file, runc, &bundle) {
            println!("{file}: firn {ours:?} as newer peers, runc and crun {runc:?}");
            continue;
        }
        assert!(ours == runc || ours == crun && runc != crun, "{file}: firn {ours:?}, runc {runc:?}, crun {crun:?}");
        if ours != runc {
            println!("{file}: firn and crun {ours:?}, runc {runc:?}");
        }
    }
}

/// Where Debian's peers are behind: runc before 1.3 and crun before 1.23 turned
/// shares into weights along a line, and older ones left reservations out.
fn is_of_old_peers(file: &str, theirs: &str, bundle: &Bundle) -> bool {
    let shares = bundle.config["linux"]["resources"]["cpu"]["shares"].as_u64();
    let old_weight = shares.map(|shares| (1 + shares.saturating_sub(2) * 9999 / 262_142).to_string());
    match file {
        "cpu.weight" => old_weight.is_some_and(|old| old == theirs),
        // The same weight, on a coarser scale.
        "cpu.weight.nice" => shares.is_some(),
        _ => file.contains(".rsvd.") && theirs == "max",
    }
}

#[test]
fn memory() {
    same("lm1", json!({"memory": {"limit": 100 << 20, "reservation": 50 << 20, "swap": 150 << 20}}));
    same("lm2", json!({"memory": {"limit": 100 << 20, "swap": 100 << 20}}));
    same("lm3", json!({"memory": {"limit": -1, "swap": -1}}));
    same("lm4", json!({"memory": {"reservation": 50 << 20}}));
}

#[test]
fn processor() {
    for (number, shares) in [2u64, 1024, 262_144].into_iter().enumerate() {
        same(&format!("lc{number}"), json!({"cpu": {"shares": shares}}));
    }
    same("lc5", json!({"cpu": {"quota": 50_000, "period": 200_000, "cpus": "0-1", "mems": "0"}}));
    same("lc6", json!({"cpu": {"quota": -1, "period": 100_000}}));
    same("lc7", json!({"cpu": {"idle": 1}}));
}

#[test]
fn processes_and_pages() {
    same("lp1", json!({"pids": {"limit": 77}}));
    same("lp2", json!({"pids": {"limit": -1}}));
    same("lp3", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}));
}

#[test]
fn block_devices() {
    let device = |rate: u64| json!([{"major": 254, "minor": 0, "rate": rate}]);
    same(
        "lb1",
        json!({"blockIO": {
            "throttleReadBpsDevice": device(1_000_000), "throttleWriteBpsDevice": device(2_000_000),
            "throttleReadIOPSDevice": device(300), "throttleWriteIOPSDevice": device(400)
        }}),
    );
}

#[test]
fn unified() {
    same("lu1", json!({"unified": {"memory.high": "50331648", "pids.max": "55", "cpu.weight": "321"}}));
}
