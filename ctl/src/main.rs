//! The program `firnctl`.

#![forbid(unsafe_code)]

use clap::Parser;
use firnctl::cli::{self, Arguments};
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(&mut Arguments::parse())
}
