//! Properties of systemd units: D-Bus values, and those of annotations.

use crate::bail;
use crate::error::Result;
use std::collections::BTreeMap;

/// A D-Bus value in a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    Uint32s(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// Name and value.
pub type Property = (String, Value);

impl Value {
    /// Its D-Bus type signature.
    pub fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Int32(_) => "i",
            Value::Uint32(_) => "u",
            Value::Int64(_) => "x",
            Value::Uint64(_) => "t",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Bytes(_) => "ay",
            Value::Uint32s(_) => "au",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

/// Properties of annotations `org.systemd.property.NAME`, with values in GVariant's text format, as
/// runc takes and podman writes. Errors: a malformed value; a property that is not allowed.
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            bail!("annotation {key:?}: {name:?} is not the name of a property");
        }
        // SuccessAction=, FailureAction= and the like of systemd.unit(5) can reboot or power off
        // the host: an image could set them by its annotations (CVE-2024-3154).
        if name.ends_with("Action") || name.starts_with("Reboot") {
            bail!("annotation {key:?}: a container may not decide what becomes of the machine");
        }
        let Some(value) = parse(text.trim()) else {
            bail!("annotation {key:?}: {text:?} is not a value: examples are true, 5, uint64 5, 'text', ['a', 'b']")
        };
        list.push(match (name.strip_suffix("USec"), name.strip_suffix("Sec")) {
            // The D-Bus interface has only USec; seconds are for unit files.
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

/// Without escapes, which no property needs.
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
}
