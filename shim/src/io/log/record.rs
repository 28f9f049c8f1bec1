//! What is logged: a line of output, or a part of one.

/// A line, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Without the newline.
    pub(super) text: &'a [u8],
    /// It ends the line: flag `F`.
    pub(super) full: bool,
}

/// The records of a chunk of output: one for each line, and one for what follows the last newline.
#[derive(Debug)]
pub(super) struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub(super) fn new(chunk: &'a [u8]) -> Records<'a> {
        Records(chunk)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let record = match self.0.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let record = Record { text: &self.0[..end], full: true };
                self.0 = &self.0[end + 1..];
                record
            }
            None => Record { text: std::mem::take(&mut self.0), full: false },
        };
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_as_records() {
        let cases: [(&str, &[(&str, bool)]); 5] = [
            ("", &[]),
            ("one\ntwo\n", &[("one", true), ("two", true)]),
            ("\n\n", &[("", true), ("", true)]),
            ("end", &[("end", false)]),
            ("a\nb", &[("a", true), ("b", false)]),
        ];
        for (chunk, expected) in cases {
            let records: Vec<_> = Records::new(chunk.as_bytes()).map(|record| (record.text, record.full)).collect();
            let expected: Vec<_> = expected.iter().map(|(text, full)| (text.as_bytes(), *full)).collect();
            assert_eq!(records, expected, "{chunk:?}");
        }
    }
}
