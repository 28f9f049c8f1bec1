//! What commands print.

use anyhow::Result;
use std::io::Write;

/// Prints to standard output; a reader that has enough may close it.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
