//! The program that builds bundles; see the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    firn_image::cli::main()
}
