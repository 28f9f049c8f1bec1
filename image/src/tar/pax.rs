//! Extended headers of pax(1): records `LENGTH KEY=VALUE\n`.

/// The records of one header, in order.
#[derive(Debug, Default)]
pub(crate) struct Pax(Vec<(Vec<u8>, Vec<u8>)>);

impl Pax {
    /// Parses a header. Errors: a record whose length is not that of its text.
    pub(crate) fn parse(mut text: &[u8]) -> Result<Self, &'static str> {
        let mut records = Vec::new();
        while !text.is_empty() {
            let (record, rest) = split_record(text).ok_or("a record of its PAX header has a wrong length")?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record of its PAX header has no =")?;
            records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
            text = rest;
        }
        Ok(Self(records))
    }

    /// All records in order, those that repeat a key too.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// The value of a key: the last one counts, and an empty one stands for none.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        let value = self.records().filter(|(name, _)| *name == key.as_bytes()).last()?.1;
        (!value.is_empty()).then_some(value)
    }

    /// A decimal number. Errors: it is none.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, &'static str> {
        self.get(key).map(decimal).transpose()
    }
}

/// A decimal number of digits alone.
pub(crate) fn decimal(text: &[u8]) -> Result<u64, &'static str> {
    const REASON: &str = "a number of its PAX header is none";
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(REASON);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(REASON)
}

/// Seconds with a fraction, to nanoseconds.
pub(crate) fn time(text: &[u8]) -> Result<(i64, i64), &'static str> {
    parse_time(text).ok_or("its time in the PAX header is no number")
}

fn parse_time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    // Before 1970 a fraction counts away from zero; timespec counts up.
    match text.starts_with('-') && nanoseconds > 0 {
        true => Some((whole.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        false => Some((whole, nanoseconds)),
    }
}

/// The text of the first record, without its length and newline, and what follows it.
fn split_record(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&text[..space]).ok()?).ok()?;
    let record = text.get(space + 1..length)?;
    Some((record.strip_suffix(b"\n")?, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_length_that_they_say() {
        let pax = Pax::parse(b"9 path=a\n11 path=b=\n13 SCHILY=\n\n\n").unwrap();
        assert_eq!(pax.get("path"), Some(&b"b="[..]));
        assert_eq!(pax.get("SCHILY"), Some(&b"\n\n"[..]));
        assert_eq!(pax.get("size"), None);
        for wrong in [
            "9 path=a",
            "8 path=a\n",
            "11 path=a\n",
            "x path=a\n",
            "7 patha\n",
            "0 \n",
            "3 \n",
            "99999999999999999999999 a=b\n",
        ] {
            assert!(Pax::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert_eq!(Pax::parse(b"9 size=1\n").unwrap().number("size"), Ok(Some(1)));
        assert!(Pax::parse(b"11 size=-1\n").unwrap().number("size").is_err());
        assert_eq!(Pax::parse(b"8 size=\n").unwrap().number("size"), Ok(None));
    }

    #[test]
    fn times_have_fractions_on_both_sides_of_1970() {
        assert_eq!(time(b"12"), Ok((12, 0)));
        assert_eq!(time(b"12.5"), Ok((12, 500_000_000)));
        assert_eq!(time(b"1.0123456789"), Ok((1, 12_345_678)));
        assert_eq!(time(b"-1.25"), Ok((-2, 750_000_000)));
        for wrong in ["", "x", "1.x", "1e5", "-9223372036854775808.5"] {
            assert!(time(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
