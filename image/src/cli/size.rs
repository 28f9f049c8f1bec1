//! Sizes for people.

/// A number of bytes, with tenths of a unit, rounded down.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", count / unit, count % unit * 10 / unit),
        None => format!("{count} B"),
    }
}

/// The growth from one number of bytes to another.
pub(super) fn growth(old: u64, new: u64) -> String {
    if new >= old { format!("+{}", bytes(new - old)) } else { format!("-{}", bytes(old - new)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes((5 << 20) + (1 << 19)), "5.5 MiB");
        assert_eq!((growth(10, 4), growth(4, 10), growth(4, 4)), ("-6 B".into(), "+6 B".into(), "+0 B".into()));
    }
}
