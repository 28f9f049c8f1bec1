//! The format of the log, that of the CRI (and of podman's log driver k8s-file):
//! `TIME STREAM FLAG TEXT`, where FLAG is `F` for a line or its last part, and `P` for a part of
//! a line that continues in the stream's next record.

use crate::stream::Stream;

/// A line, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Without the newline.
    pub(super) text: &'a [u8],
    /// It ends the line: flag `F`.
    pub(super) full: bool,
}

impl Record<'_> {
    /// Appends the record to `out`, with the time `stamp` (RFC 3339).
    pub(super) fn format(&self, stamp: &str, stream: Stream, out: &mut Vec<u8>) {
        out.extend_from_slice(stamp.as_bytes());
        out.push(b' ');
        out.extend_from_slice(stream.name().as_bytes());
        out.extend_from_slice(if self.full { b" F " } else { b" P " });
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }
}

/// From the end of a log: which streams' last record is `P`, a part of a line that was never
/// ended, indexed by [`Stream`]; and whether the last record itself is cut off.
pub(super) fn find_unended(end: &[u8]) -> ([bool; 2], bool) {
    let mut open = [false; 2];
    for record in end.split(|byte| *byte == b'\n') {
        let mut words = record.splitn(4, |byte| *byte == b' ').skip(1);
        let stream = match words.next() {
            Some(b"stdout") => Stream::Stdout,
            Some(b"stderr") => Stream::Stderr,
            _ => continue,
        };
        open[stream as usize] = words.next() == Some(b"P");
    }
    (open, end.last().is_some_and(|byte| *byte != b'\n'))
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
        let cases: [(&str, &str); 5] = [
            ("", ""),
            ("one\ntwo\n", "T stdout F one\nT stdout F two\n"),
            ("\n\n", "T stdout F \nT stdout F \n"),
            ("end", "T stdout P end\n"),
            ("a\nb", "T stdout F a\nT stdout P b\n"),
        ];
        for (chunk, expected) in cases {
            let mut out = Vec::new();
            for record in Records::new(chunk.as_bytes()) {
                record.format("T", Stream::Stdout, &mut out);
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{chunk:?}");
        }
    }

    #[test]
    fn unended_lines_are_found() {
        for (end, expected) in [
            ("", ([false, false], false)),
            ("T stdout F a\nT stderr P b\n", ([false, true], false)),
            ("T stdout P a\nT stderr F stdout P\n", ([true, false], false)),
            ("t of a text\nT stdout P a\nT stdout F \n", ([false, false], false)),
            ("T stdout F a\nT stderr P b", ([false, true], true)),
            ("T stdo", ([false, false], true)),
        ] {
            assert_eq!(find_unended(end.as_bytes()), expected, "{end}");
        }
    }
}
