//! The C entry point of the `firn` binary. Rust's own reads /proc/self/maps and sets up
//! a handler for stack overflows first: a dozen system calls for each command, part of
//! them twice.

// SAFETY: this is the one symbol of its name in the binary, which is built with
// no_main, and it has the signature that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    // glibc passes the arguments to std before main, by .init_array.
    firn::cli::run(std::env::args_os().collect()).into()
}
