//! Lines of `schemata`, such as `L3:0=ff;1=ff`.

use crate::bail;
use crate::error::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The value of each resource and domain. The kernel prints lines in another order and with
/// leading zeros.
fn values(text: &str) -> BTreeMap<(String, String), String> {
    let mut values = BTreeMap::new();
    for (resource, domains) in text.lines().filter_map(|line| line.split_once(':')) {
        for (domain, value) in domains.split(';').filter_map(|domain| domain.split_once('=')) {
            let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
            values.insert((resource.trim().to_owned(), domain.trim().to_owned()), value);
        }
    }
    values
}

/// Errors: an existing group has other schemata than the config. Other containers may use it,
/// so it is not modified.
pub fn compare(group: &Path, wanted: &[String]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let file = group.join("schemata");
    let present = std::fs::read_to_string(&file).doing(|| format!("read {}", file.display()))?;
    let present = values(&present);
    for line in wanted {
        if values(line).iter().any(|(domain, value)| present.get(domain) != Some(value)) {
            bail!("linux.intelRdt: {} exists with other schemata than {line}", group.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn lines_are_compared_by_what_they_say() {
        assert_eq!(values("L3:1=00ff;0=FF\n"), values("    L3:0=ff;1=ff"));
        assert_ne!(values("L3:0=ff"), values("L2:0=ff"));
    }
}
