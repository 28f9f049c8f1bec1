//! Errors, as people are told them.

use firn::error::Error;
use std::io::Write;

/// On stderr, and not by eprintln!, which panics where that is a pipe that nobody reads.
pub(super) fn tell(error: &Error) {
    let _ = writeln!(std::io::stderr(), "firn-shim: error: {}", firn::log::printable(&error.chain()));
}
