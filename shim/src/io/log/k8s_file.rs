//! The format k8s-file, that of the CRI (and of podman's log driver of this name):
//! `TIME STREAM FLAG TEXT`, where FLAG is `F` for a line or its last part, and `P` for a part of
//! a line that continues in the stream's next record.

use super::record::Record;
use crate::stream::Stream;

/// Appends a record to `out`, with the time `stamp` (RFC 3339).
pub(super) fn format(record: &Record<'_>, stamp: &str, stream: Stream, out: &mut Vec<u8>) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(if record.full { b" F " } else { b" P " });
    out.extend_from_slice(record.text);
    out.push(b'\n');
}

/// From the end of a log: which streams' last record is `P`, a part of a line that was never
/// ended, indexed by [`Stream`].
pub(super) fn find_unended(end: &[u8]) -> [bool; 2] {
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
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_lines() {
        let mut out = Vec::new();
        for (text, full) in [("one", true), ("", true), ("end", false)] {
            format(&Record { text: text.as_bytes(), full }, "T", Stream::Stderr, &mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap(), "T stderr F one\nT stderr F \nT stderr P end\n");
    }

    #[test]
    fn unended_lines_are_found() {
        for (end, expected) in [
            ("", [false, false]),
            ("T stdout F a\nT stderr P b\n", [false, true]),
            ("T stdout P a\nT stderr F stdout P\n", [true, false]),
            ("t of a text\nT stdout P a\nT stdout F \n", [false, false]),
            ("T stdout F a\nT stderr P b", [false, true]),
            ("T stdo", [false, false]),
        ] {
            assert_eq!(find_unended(end.as_bytes()), expected, "{end}");
        }
    }
}
