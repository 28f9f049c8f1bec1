//! The monitor's program; see the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    firn_shim::cli::main()
}
