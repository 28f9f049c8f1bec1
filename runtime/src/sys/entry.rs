//! The C entry point of the `firn` binary. Rust's own would first read
//! /proc/self/maps and set up a handler for stack overflows: a dozen system
//! calls that each command would pay, some of them twice.

// SAFETY: this is the one symbol of its name in the binary, which is built with
// no_main, and it has the signature that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    // The C library has handed the arguments to std by now.
    firn::cli::run(std::env::args_os().collect()).into()
}
