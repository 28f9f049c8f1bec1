#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    firn::sys::signal::reset_at_start();
    match firn_image::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Names of the image's stand in it: in one line, and nothing that steers a terminal.
            let text = format!("{error:#}").replace('\n', "\\u000a");
            eprintln!("firn-image: error: {}", firn::log::printable(&text));
            ExitCode::FAILURE
        }
    }
}
