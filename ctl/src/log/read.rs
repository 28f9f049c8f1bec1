//! Logs of the monitor, in the format k8s-file: `TIME STREAM FLAG TEXT`, FLAG being `F` for the end of a
//! line and `P` for a part before it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Result};
use std::path::Path;

/// Bytes of a line at most.
const LONGEST: usize = 64 << 10;

/// A line that a container has printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// RFC 3339, UTC.
    pub time: String,
    pub is_stderr: bool,
    /// What is no UTF-8 is shown by U+FFFD.
    pub text: String,
}

/// Makes lines of records.
#[derive(Debug, Default)]
pub struct Lines {
    /// Parts of a line whose end has not come, of stdout and of stderr.
    parts: [String; 2],
}

impl Lines {
    /// The line that a record ends, if it ends one.
    pub fn push(&mut self, record: &[u8]) -> Option<Line> {
        let record = String::from_utf8_lossy(record);
        let mut words = record.splitn(4, ' ');
        let (time, stream, flag) = (words.next()?, words.next()?, words.next()?);
        let text = words.next().unwrap_or_default();
        let is_stderr = stream == "stderr";
        let part = &mut self.parts[usize::from(is_stderr)];
        part.push_str(text);
        // What has no end for so long is shown in pieces.
        if flag == "P" && part.len() < LONGEST {
            return None;
        }
        // A terminal ends lines with both.
        let text = std::mem::take(part);
        let text = text.trim_end_matches('\r').to_owned();
        Some(Line { time: time.into(), is_stderr, text })
    }
}

/// The last lines of a log, of which only `end` bytes are read; none where there is no log.
pub fn tail(path: &Path, count: usize, end: Option<u64>) -> Result<Vec<Line>> {
    let mut last = VecDeque::new();
    for (file, end) in [(path.with_extension("1"), None), (path.to_owned(), end)] {
        let file = match File::open(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result?.take(end.unwrap_or(u64::MAX)),
        };
        let mut lines = Lines::default();
        for record in BufReader::new(file).split(b'\n') {
            if let Some(line) = lines.push(&record?) {
                if last.len() >= count {
                    last.pop_front();
                }
                if count > 0 {
                    last.push_back(line);
                }
            }
        }
    }
    Ok(last.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_a_line() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"T stdout P a "), None);
        assert_eq!(lines.push(b"T stderr F x").unwrap().text, "x");
        assert_eq!(
            lines.push(b"U stdout F b\r"),
            Some(Line { time: "U".into(), is_stderr: false, text: "a b".into() })
        );
        assert_eq!(lines.push(b"torn"), None);
        assert_eq!(lines.push(b"T stdout F ").unwrap().text, "");
    }
}
