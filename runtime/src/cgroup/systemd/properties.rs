//! What systemd is told of a container's limits, so that it keeps them when it
//! writes its units' cgroups anew, and shows them. The files are written all the
//! same: not every one has a property.

use super::wire::{Property, Value};
use crate::bail;
use crate::error::Result;
use crate::plan::cgroup::Setting;
use crate::plan::cgroup::devices::Rule;
use std::collections::BTreeMap;

type Read = fn(&str) -> Option<Value>;

/// A file of either cgroup version, the property, and how its value is read.
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

/// systemd 252 and newer write cpu.idle for a weight of zero.
fn idle(text: &str) -> Option<Value> {
    (text == "1").then_some(Value::Uint64(0))
}

/// Microseconds of each second, in steps of 10 ms, which is what systemd counts
/// in: rounded up, or it would give less than was asked for.
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

/// `0-2,7` as bits, the lowest byte first.
fn mask(text: &str) -> Option<Value> {
    let mut bytes: Vec<u8> = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        // The kernel has no more; a number beyond is refused when it is written.
        for number in first..=last.min(8191) {
            if bytes.len() <= number / 8 {
                bytes.resize(number / 8 + 1, 0);
            }
            bytes[number / 8] |= 1 << (number % 8);
        }
    }
    Some(Value::Bytes(bytes))
}

/// The device rules as systemd takes them: a list of what is allowed. Without
/// it, systemd would allow everything when it writes the cgroup anew.
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
        // A single device that is denied again can't be said; the program of
        // the cgroup, or its files, still deny it.
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

/// systemd wants the name of a major number, /proc/devices.
fn group(kind: &str, major: u32) -> Option<String> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let heading = if kind == "block" { "Block devices:" } else { "Character devices:" };
    let lines = text.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    lines.map(str::trim).find_map(|line| Some(line.strip_prefix(&major.to_string())?.strip_prefix(' ')?.to_owned()))
}

/// Annotations `org.systemd.property.NAME`, with values as GVariant has them in
/// text: what runc takes, and podman writes.
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            bail!("annotation {key:?}: {name:?} is not the name of a property");
        }
        // An image could turn the machine off with these (CVE-2024-3154).
        if name.ends_with("Action") || name.starts_with("Reboot") {
            bail!("annotation {key:?}: a container may not decide what becomes of the machine");
        }
        let Some(value) = parse(text.trim()) else {
            bail!("annotation {key:?}: {text:?} is not a value: examples are true, 5, uint64 5, 'text', ['a', 'b']")
        };
        list.push(match (name.strip_suffix("USec"), name.strip_suffix("Sec")) {
            // Only units of configuration files have seconds.
            (None, Some(stem)) => match microseconds(&value) {
                Some(value) => (format!("{stem}USec"), value),
                None => bail!("annotation {key:?}: {text:?} is not a number of seconds"),
            },
            _ => (name.to_owned(), value),
        });
    }
    Ok(list)
}

fn microseconds(seconds: &Value) -> Option<Value> {
    let seconds = match seconds {
        Value::Int32(n) => u64::try_from(*n).ok()?,
        Value::Uint32(n) => u64::from(*n),
        Value::Int64(n) => u64::try_from(*n).ok()?,
        Value::Uint64(n) => *n,
        _ => return None,
    };
    Some(Value::Uint64(seconds.checked_mul(1_000_000)?))
}

fn parse(text: &str) -> Option<Value> {
    if let Some((kind, number)) = text.split_once(' ')
        && !text.starts_with(['\'', '"', '['])
    {
        let number = number.trim();
        return match kind {
            "int32" => number.parse().ok().map(Value::Int32),
            "uint32" => number.parse().ok().map(Value::Uint32),
            "int64" => number.parse().ok().map(Value::Int64),
            "uint64" => number.parse().ok().map(Value::Uint64),
            _ => None,
        };
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        text if text.starts_with('[') => {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| quoted(item).map(str::to_owned)).collect::<Option<_>>().map(Value::Texts)
        }
        text => match quoted(text) {
            Some(inner) => Some(Value::Text(inner.to_owned())),
            None => text.parse().ok().map(Value::Int32),
        },
    }
}

/// Without escapes: no property needs them.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| *c == '\'' || *c == '"')?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(quote) && !inner.contains('\\')).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_gvariant_writes_them() {
        assert_eq!(parse("uint64 10000000"), Some(Value::Uint64(10_000_000)));
        assert_eq!(parse("'inactive-or-failed'"), Some(Value::Text("inactive-or-failed".into())));
        assert_eq!(parse("15"), Some(Value::Int32(15)));
        assert_eq!(parse("['a.service', 'b c']"), Some(Value::Texts(vec!["a.service".into(), "b c".into()])));
        assert_eq!(parse("true"), Some(Value::Bool(true)));
        for wrong in ["", "x", "uint64", "uint64 x", "'a", "[a]", "'a'b'", "uint8 300"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let of = |name: &str, value: &str| {
            of_annotations(&[(format!("org.systemd.property.{name}"), value.to_owned())].into())
        };
        assert_eq!(of("TimeoutStopSec", "10").unwrap(), [("TimeoutStopUSec".into(), Value::Uint64(10_000_000))]);
        assert_eq!(of("TimeoutStopUSec", "uint64 10").unwrap(), [("TimeoutStopUSec".into(), Value::Uint64(10))]);
        assert!(of("TimeoutStopSec", "'x'").unwrap_err().chain().contains("seconds"));
        assert!(of("a/b", "1").is_err());
        assert!(of("FailureAction", "'reboot-force'").unwrap_err().chain().contains("machine"));
    }

    #[test]
    fn sets_are_masks_and_quotas_are_rounded_up() {
        assert_eq!(mask("0-2,9"), Some(Value::Bytes(vec![0b111, 0b10])));
        assert_eq!(quota("50000 100000"), Some(Value::Uint64(500_000)));
        assert_eq!(quota("1000 100000"), Some(Value::Uint64(10_000)));
        assert_eq!(quota("12345 100000"), Some(Value::Uint64(130_000)));
        assert_eq!(quota("max 100000"), Some(Value::Uint64(u64::MAX)));
    }
}
