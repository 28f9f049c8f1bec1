//! The monitor's binary; everything is in the library.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match firn_shim::cli::parse().and_then(firn_shim::run) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Not eprintln: it panics where nobody reads stderr any more.
            let _ = writeln!(std::io::stderr(), "firn-shim: error: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}
