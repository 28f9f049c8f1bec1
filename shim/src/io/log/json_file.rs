//! The format json-file, that of Docker: `{"log":"TEXT\n","stream":"stdout","time":"TIME"}`, one record a
//! line. Without the newline in TEXT the line continues in the stream's next record. Bytes that are no
//! UTF-8 become U+FFFD, as JSON has no others.

use super::record::Record;
use crate::stream::Stream;
use serde::Serialize;

/// In the order in which Docker writes them.
#[derive(Serialize)]
struct Line<'a> {
    log: &'a str,
    stream: &'a str,
    time: &'a str,
}

/// Appends a record to `out`, with the time `stamp` (RFC 3339).
pub(super) fn format(record: &Record<'_>, stamp: &str, stream: Stream, out: &mut Vec<u8>) {
    let mut text = String::from_utf8_lossy(record.text).into_owned();
    if record.full {
        text.push('\n');
    }
    // Writing JSON into memory does not fail.
    let _ = serde_json::to_writer(&mut *out, &Line { log: &text, stream: stream.name(), time: stamp });
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_lines() {
        let mut out = Vec::new();
        for (text, full) in [(&b"a \"b\""[..], true), (b"\xff\x1b", false), (b"", true)] {
            format(&Record { text, full }, "T", Stream::Stdout, &mut out);
        }
        let expected = concat!(
            r#"{"log":"a \"b\"\n","stream":"stdout","time":"T"}"#,
            "\n",
            "{\"log\":\"\u{fffd}\\u001b\",\"stream\":\"stdout\",\"time\":\"T\"}\n",
            r#"{"log":"\n","stream":"stdout","time":"T"}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
