//! Lists of numbers as in config.json and the kernel's cpulist format: `0-3,7`.

use crate::bail;
use crate::error::Result;

/// The numbers of a list, sorted, without duplicates. Errors: a number not below `limit`.
pub fn numbers(text: &str, field: &str, limit: usize) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < limit => found.extend(first..=last),
            _ => bail!("{field}: {range:?} is not a number below {limit}, or two with '-' between"),
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn lists_are_read() {
        assert_eq!(numbers("0-2,7, 1", "f", 64).unwrap(), [0, 1, 2, 7]);
        assert!(numbers("", "f", 64).unwrap().is_empty());
        for wrong in ["a", "3-1", "64", "-1", "1-"] {
            assert!(numbers(wrong, "f", 64).is_err(), "{wrong}");
        }
    }
}
