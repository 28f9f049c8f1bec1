//! The last lines of output, for the error message of a start that failed.

use std::collections::VecDeque;

const BYTES: usize = 2048;
const LINES: usize = 10;

/// At most 2 KiB of output.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<u8>);

impl Tail {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let chunk = &chunk[chunk.len().saturating_sub(BYTES)..];
        let excess = (self.0.len() + chunk.len()).saturating_sub(BYTES);
        self.0.drain(..excess);
        self.0.extend(chunk);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// At most ten lines, without control characters, which a terminal would obey.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let clean = |line: &str| -> String { line.chars().filter(|c| !c.is_control()).collect() };
        let mut lines: Vec<String> = text.lines().rev().take(LINES).map(clean).collect();
        lines.reverse();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_in_lines_and_bytes() {
        let mut tail = Tail::default();
        for n in 0..500 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let text = tail.text();
        assert_eq!(text.lines().count(), LINES);
        assert!(text.ends_with("line 499"));
        tail.push(&[b'x'; 100_000]);
        assert!(tail.0.len() <= BYTES);
        tail.clear();
        tail.push(b"\x1b[31mred\x07\r\n");
        assert_eq!(tail.text(), "[31mred");
    }
}
