//! The limits as properties of systemd's unit, so that systemd keeps them when it writes the
//! unit's cgroup again, and shows them. The files are written as well: not every limit has a
//! property.

use crate::plan::cgroup::devices::Rule;
use crate::plan::cgroup::property::{Property, Value};
use crate::plan::cgroup::setting::Setting;

type Read = fn(&str) -> Option<Value>;

/// A file of either cgroup version, the property, and the parser of its value.
/// systemd.resource-control(5), org.freedesktop.systemd1(5).
const TABLE: [(&str, &str, Read); 17] = [
    ("memory.max", "MemoryMax", number_or_max),
    ("memory.high", "MemoryHigh", number_or_max),
    ("memory.low", "MemoryLow", number_or_max),
    ("memory.min", "MemoryMin", number_or_max),
    ("memory.swap.max", "MemorySwapMax", number_or_max),
    ("memory.limit_in_bytes", "MemoryLimit", number_or_max),
    ("pids.max", "TasksMax", number_or_max),
    ("cpu.weight", "CPUWeight", number_or_max),
    ("cpu.idle", "CPUWeight", idle),
    ("cpu.shares", "CPUShares", number_or_max),
    ("cpu.max", "CPUQuotaPerSecUSec", quota),
    ("cpu.max", "CPUQuotaPeriodUSec", period),
    ("cpuset.cpus", "AllowedCPUs", mask),
    ("cpuset.mems", "AllowedMemoryNodes", mask),
    ("io.weight", "IOWeight", number_or_max),
    ("blkio.weight", "BlockIOWeight", number_or_max),
    ("cpu.cfs_period_us", "CPUQuotaPeriodUSec", number_or_max),
];

/// The properties for `settings`, each once.
pub fn of_settings(settings: &[Setting]) -> Vec<Property> {
    let mut list: Vec<Property> = Vec::new();
    for setting in settings {
        for (_, name, read) in TABLE.iter().filter(|(file, _, _)| *file == setting.file) {
            if let Some(value) = read(&setting.value) {
                list.retain(|(known, _)| known != name);
                list.push(((*name).to_owned(), value));
            }
        }
    }
    list.extend(quota_v1(settings));
    list
}

fn number_or_max(text: &str) -> Option<Value> {
    match text {
        "max" | "-1" => Some(Value::Uint64(u64::MAX)),
        text => text.parse().ok().map(Value::Uint64),
    }
}

/// systemd writes cpu.idle for CPUWeight=idle (0) since 252.
fn idle(text: &str) -> Option<Value> {
    (text == "1").then_some(Value::Uint64(0))
}

/// Microseconds per second, rounded up to 10 ms, systemd's unit: rounded down it would be
/// less than configured.
fn per_second(quota: u64, period: u64) -> Value {
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    Value::Uint64(u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(u64::MAX))
}

const DEFAULT_PERIOD: u64 = 100_000;

fn quota(text: &str) -> Option<Value> {
    let mut words = text.split_whitespace();
    let quota = words.next()?;
    let period = words.next().and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_PERIOD);
    match quota {
        "max" => Some(Value::Uint64(u64::MAX)),
        quota => Some(per_second(quota.parse().ok()?, period)),
    }
}

fn period(text: &str) -> Option<Value> {
    text.split_whitespace().nth(1)?.parse().ok().map(Value::Uint64)
}

fn quota_v1(settings: &[Setting]) -> Option<Property> {
    let number = |file: &str| settings.iter().find(|s| s.file == file).and_then(|s| s.value.parse::<i64>().ok());
    let quota = number("cpu.cfs_quota_us")?;
    let period = number("cpu.cfs_period_us").and_then(|n| u64::try_from(n).ok()).unwrap_or(DEFAULT_PERIOD);
    let value = u64::try_from(quota).map_or(Value::Uint64(u64::MAX), |quota| per_second(quota, period));
    Some(("CPUQuotaPerSecUSec".into(), value))
}

/// `0-2,7` as a bit mask, least significant byte first.
fn mask(text: &str) -> Option<Value> {
    let mut bytes: Vec<u8> = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        // The kernel's maximum; larger numbers are refused when the file is written.
        for number in first..=last.min(8191) {
            if bytes.len() <= number / 8 {
                bytes.resize(number / 8 + 1, 0);
            }
            bytes[number / 8] |= 1 << (number % 8);
        }
    }
    Some(Value::Bytes(bytes))
}

/// The device rules as DeviceAllow. Without them systemd would allow all devices when it
/// writes the cgroup again.
pub fn of_devices(rules: &[Rule]) -> Vec<Property> {
    let all = |rule: &Rule| rule.kind == 'a' || (rule.major.is_none() && rule.minor.is_none());
    let mut allowed: Vec<(String, String)> = Vec::new();
    let mut policy = "auto";
    for rule in rules {
        if rule.allow && rule.kind == 'a' {
            (policy, allowed) = ("auto", Vec::new());
        } else if !rule.allow && all(rule) && rule.kind == 'a' {
            (policy, allowed) = ("strict", Vec::new());
        } else if rule.allow {
            allowed.extend(path(rule).map(|path| (path, access(rule))));
        }
        // A rule that denies a single device can't be expressed; the eBPF program or the files
        // of the cgroup still deny it.
    }
    if policy == "auto" {
        allowed.clear();
    }
    vec![("DevicePolicy".into(), Value::Text(policy.into())), ("DeviceAllow".into(), Value::Pairs(allowed))]
}

fn access(rule: &Rule) -> String {
    let letters = [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')];
    letters.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect()
}

fn path(rule: &Rule) -> Option<String> {
    let kind = if rule.kind == 'b' { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (None, None) => Some(format!("{kind}-*")),
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => group(kind, major).map(|name| format!("{kind}-{name}")),
        (None, Some(_)) => None,
    }
}

/// The name of a major number, for DeviceAllow, from /proc/devices.
fn group(kind: &str, major: u32) -> Option<String> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let heading = if kind == "block" { "Block devices:" } else { "Character devices:" };
    let lines = text.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    lines.map(str::trim).find_map(|line| Some(line.strip_prefix(&major.to_string())?.strip_prefix(' ')?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_masks_and_quotas_are_rounded_up() {
        assert_eq!(mask("0-2,9"), Some(Value::Bytes(vec![0b111, 0b10])));
        assert_eq!(quota("50000 100000"), Some(Value::Uint64(500_000)));
        assert_eq!(quota("1000 100000"), Some(Value::Uint64(10_000)));
        assert_eq!(quota("12345 100000"), Some(Value::Uint64(130_000)));
        assert_eq!(quota("max 100000"), Some(Value::Uint64(u64::MAX)));
    }
}
