//! The monitor's binary; everything is in the library.
#![forbid(unsafe_code)]

use firn_shim::error::Context;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let run = || {
        firn_shim::sys::shed_inheritance().context(|| "close inherited files".into())?;
        firn_shim::run(firn_shim::cli::parse()?)
    };
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Not eprintln: it panics where nobody reads stderr any more.
            let _ = writeln!(std::io::stderr(), "firn-shim: error: {}", firn::log::printable(&error.chain()));
            ExitCode::FAILURE
        }
    }
}
