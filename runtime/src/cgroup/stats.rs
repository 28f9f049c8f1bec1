//! Resource usage of a container, by the names of runc's `events`.

use super::dir::{Dir, read};
use super::group::Cgroup;
use serde_json::{Map, Value, json};

/// The `data` of a `stats` event. Values that the host does not have are left out.
pub fn collect(cgroup: &Cgroup) -> Value {
    let mut stats = json!({ "network_interfaces": null });
    let parts: [(&str, Option<Value>); 5] = [
        ("cpu", cgroup.controller(if cgroup.pure_v2 { "cpu" } else { "cpuacct" }).map(|dir| cpu(cgroup, dir))),
        ("memory", cgroup.controller("memory").map(|dir| memory(cgroup.pure_v2, dir))),
        ("pids", cgroup.controller("pids").map(pids)),
        ("blkio", cgroup.controller(if cgroup.pure_v2 { "io" } else { "blkio" }).map(|dir| blkio(cgroup.pure_v2, dir))),
        ("cpuset", cgroup.controller("cpuset").map(cpuset)),
    ];
    for (name, value) in parts {
        stats[name] = value.unwrap_or_else(|| json!({}));
    }
    stats["hugetlb"] = cgroup.controller("hugetlb").map_or_else(|| json!({}), |dir| hugetlb(cgroup.pure_v2, dir));
    stats
}

fn number(dir: &Dir, file: &str) -> u64 {
    match read(&dir.path, file).unwrap_or_default().trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// A flat keyed file (cgroup-v2.rst): lines of `key value`.
fn keyed(dir: &Dir, file: &str) -> Map<String, Value> {
    let text = read(&dir.path, file).unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
    };
    text.lines().filter_map(pair).collect()
}

fn of(map: &Map<String, Value>, key: &str) -> u64 {
    map.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// CPU usage in nanoseconds.
fn cpu(cgroup: &Cgroup, dir: &Dir) -> Value {
    if cgroup.pure_v2 {
        let stat = keyed(dir, "cpu.stat");
        let ns = |key: &str| of(&stat, key) * 1000;
        return json!({
            "usage": { "total": ns("usage_usec"), "user": ns("user_usec"), "kernel": ns("system_usec") },
            "throttling": {
                "periods": of(&stat, "nr_periods"),
                "throttledPeriods": of(&stat, "nr_throttled"),
                "throttledTime": ns("throttled_usec"),
            },
        });
    }
    let stat = cgroup.controller("cpu").map(|dir| keyed(dir, "cpu.stat")).unwrap_or_default();
    let per_cpu = read(&dir.path, "cpuacct.usage_percpu").unwrap_or_default();
    let per_cpu: Vec<u64> = per_cpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    json!({
        "usage": {
            "total": number(dir, "cpuacct.usage"),
            "percpu": per_cpu,
            "user": number(dir, "cpuacct.usage_user"),
            "kernel": number(dir, "cpuacct.usage_sys"),
        },
        "throttling": {
            "periods": of(&stat, "nr_periods"),
            "throttledPeriods": of(&stat, "nr_throttled"),
            "throttledTime": of(&stat, "throttled_time"),
        },
    })
}

fn memory(pure_v2: bool, dir: &Dir) -> Value {
    let raw = keyed(dir, "memory.stat");
    if pure_v2 {
        let events = keyed(dir, "memory.events");
        return json!({
            "cache": of(&raw, "file"),
            "usage": {
                "limit": number(dir, "memory.max"), "usage": number(dir, "memory.current"),
                "max": number(dir, "memory.peak"), "failcnt": of(&events, "max"),
            },
            // Memory + swap, as in cgroup v1.
            "swap": {
                "limit": number(dir, "memory.max").saturating_add(number(dir, "memory.swap.max")),
                "usage": number(dir, "memory.current") + number(dir, "memory.swap.current"), "failcnt": 0,
            },
            "kernel": { "failcnt": 0 }, "kernelTCP": { "failcnt": 0 },
            "raw": raw,
        });
    }
    let entry = |prefix: &str| {
        let file = |end: &str| number(dir, &format!("{prefix}.{end}"));
        json!({
            "limit": file("limit_in_bytes"), "usage": file("usage_in_bytes"),
            "max": file("max_usage_in_bytes"), "failcnt": file("failcnt"),
        })
    };
    json!({
        "cache": of(&raw, "cache"),
        "usage": entry("memory"), "swap": entry("memory.memsw"),
        "kernel": entry("memory.kmem"), "kernelTCP": entry("memory.kmem.tcp"),
        "raw": raw,
    })
}

fn pids(dir: &Dir) -> Value {
    let mut pids = json!({ "current": number(dir, "pids.current") });
    // runc leaves the limit out if it is max.
    match number(dir, "pids.max") {
        u64::MAX => {}
        limit => pids["limit"] = json!(limit),
    }
    pids
}

fn cpuset(dir: &Dir) -> Value {
    let list = |file: &str| -> Vec<u32> {
        let text = read(&dir.path, file).unwrap_or_default();
        let range = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
        };
        text.trim().split(',').filter_map(range).flatten().collect()
    };
    json!({ "cpus": list("cpuset.cpus"), "mems": list("cpuset.mems") })
}

fn blkio(pure_v2: bool, dir: &Dir) -> Value {
    if !pure_v2 {
        let file = |name: &str| lines_v1(&read(&dir.path, &format!("blkio.{name}")).unwrap_or_default());
        return json!({
            "ioServiceBytesRecursive": file("throttle.io_service_bytes_recursive"),
            "ioServicedRecursive": file("throttle.io_serviced_recursive"),
        });
    }
    let text = read(&dir.path, "io.stat").unwrap_or_default();
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, operation) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            let value: u64 = value.parse().unwrap_or(0);
            list.push(json!({ "major": major, "minor": minor, "op": operation, "value": value }));
        }
    }
    json!({ "ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations })
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines such as `8:0 Read 4096`, and a last one with the total.
fn lines_v1(text: &str) -> Vec<Value> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [place, operation, value] = words[..] else { return None };
        let (major, minor) = device(place)?;
        Some(json!({ "major": major, "minor": minor, "op": operation, "value": value.parse::<u64>().ok()? }))
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(pure_v2: bool, dir: &Dir) -> Value {
    let mut sizes = Map::new();
    let names = std::fs::read_dir(&dir.path).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let end = if pure_v2 { ".max" } else { ".limit_in_bytes" };
        let Some(size) = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(end)) else { continue };
        if size.contains('.') {
            continue;
        }
        let file = |end: &str| number(dir, &format!("hugetlb.{size}.{end}"));
        let entry = match pure_v2 {
            true => {
                json!({ "usage": file("current"), "failcnt": of(&keyed(dir, &format!("hugetlb.{size}.events")), "max") })
            }
            false => {
                json!({ "usage": file("usage_in_bytes"), "max": file("max_usage_in_bytes"), "failcnt": file("failcnt") })
            }
        };
        sizes.insert(size.to_owned(), entry);
    }
    Value::Object(sizes)
}
