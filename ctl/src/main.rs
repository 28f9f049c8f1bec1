//! The program `firnctl`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    firnctl::cli::main()
}
