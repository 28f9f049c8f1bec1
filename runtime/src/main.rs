//! The `firn` binary: arguments in, exit code out.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    firn::cli::run(std::env::args_os().collect())
}
