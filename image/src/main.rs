#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    firn::sys::signal::reset_at_start();
    match firn_image::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firn-image: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
