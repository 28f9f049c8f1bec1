//! The floor: what a container costs when nothing is done but the kernel's work.
//! No C library (whose start asks for the processor's features, which a virtual
//! machine makes slow), no config, no state: it plays a score of system calls
//! that has been written beforehand (`bench/src/score/`).
//!
//!     firn-floor play SCORE     a container, or a process that joins one
//!     firn-floor serve          runs commands and times them, for firn-bench
//!     true, sleep               under these names: the programs in containers

#![no_std]
#![no_main]

mod mem;
mod play;
mod serve;
mod sys;

/// Called by `_start` with the stack as the kernel made it: argc, argv.
extern "C" fn main(stack: *const u64) -> ! {
    let argv = stack.wrapping_add(1).cast::<*const u8>();
    match (last_part(argv), word(argv, 1)) {
        (b"true", _) => sys::exit(0),
        (b"sleep", _) => sleep(),
        (_, b"play") => play::play(word(argv, 2)),
        (_, b"serve") => serve::serve(argv),
        _ => sys::fail(b"play SCORE or serve, not argument ", 1, 0),
    }
}

fn sleep() -> ! {
    loop {
        // SAFETY: pause(2) has no arguments.
        unsafe { sys::call(sys::PAUSE, [0; 6]) };
    }
}

/// The argument of that number, or nothing after the last; its NUL byte lies
/// behind the slice.
fn word(argv: *const *const u8, number: usize) -> &'static [u8] {
    for at in 0..=number {
        // SAFETY: all before `at` were arguments, so `at` is at most the null
        // pointer that ends them.
        let text = unsafe { *argv.wrapping_add(at) };
        if text.is_null() {
            return b"";
        }
        if at == number {
            // SAFETY: the kernel ends each argument with a NUL byte and they
            // live as long as the process.
            return unsafe { core::ffi::CStr::from_ptr(text.cast()) }.to_bytes();
        }
    }
    b""
}

fn last_part(argv: *const *const u8) -> &'static [u8] {
    word(argv, 0).rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
