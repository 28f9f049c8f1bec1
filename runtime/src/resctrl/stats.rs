//! Statistics of resctrl for `events`, by runc's names.

use super::Groups;
use serde_json::{Map, Value, json};
use std::path::Path;

pub fn collect(groups: &Groups) -> Value {
    let mut stats = Map::new();
    for (word, resource) in [("l3_cache", "L3"), ("mem_bw", "MB")] {
        if let Some(info) = info(&groups.root.join("info").join(resource)) {
            stats.insert(format!("{word}_info"), info);
        }
        for (place, group) in [("_root", &groups.root), ("", &groups.control)] {
            if let Some(line) = line(group, resource) {
                stats.insert(format!("{word}_schema{place}"), line.into());
            }
        }
    }
    let data = groups.monitoring.as_ref().unwrap_or(&groups.control).join("mon_data");
    for (word, names) in [("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"][..]), ("cmt_stats", &["llc_occupancy"])]
    {
        let counted: Vec<Value> = domains(&data).iter().filter_map(|domain| numbers(domain, names)).collect();
        if !counted.is_empty() {
            stats.insert(word.to_owned(), counted.into());
        }
    }
    Value::Object(stats)
}

/// The info directory of a resource: masks are strings, the others numbers.
fn info(directory: &Path) -> Option<Value> {
    let mut info = Map::new();
    for name in ["cbm_mask", "min_cbm_bits", "num_closids", "bandwidth_gran", "delay_linear", "min_bandwidth"] {
        let Ok(text) = std::fs::read_to_string(directory.join(name)) else { continue };
        let value = if name == "cbm_mask" { json!(text.trim()) } else { json!(text.trim().parse::<u64>().ok()?) };
        info.insert(name.to_owned(), value);
    }
    (!info.is_empty()).then_some(Value::Object(info))
}

fn line(group: &Path, resource: &str) -> Option<String> {
    let text = std::fs::read_to_string(group.join("schemata")).ok()?;
    text.lines().map(str::trim).find(|line| line.starts_with(resource)).map(str::to_owned)
}

/// The directory of each cache domain, sorted.
fn domains(data: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(data) else { return Vec::new() };
    let mut image_dirs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    image_dirs.sort();
    image_dirs
}

fn numbers(directory: &Path, names: &[&str]) -> Option<Value> {
    let mut counted = Map::new();
    for name in names {
        let Ok(text) = std::fs::read_to_string(directory.join(name)) else { continue };
        counted.insert((*name).to_owned(), json!(text.trim().parse::<u64>().ok()?));
    }
    (!counted.is_empty()).then_some(Value::Object(counted))
}
