//! Runs commands for firn-bench, one after the other, and says how long each
//! took. It does that in firn-bench's stead because it is small: a command's peak
//! memory counts from the size of who started it.
//!
//! A request is its length as 32 bits and that many bytes: words, each ended by
//! a NUL byte. The answer is five 64-bit numbers: nanoseconds, peak memory in
//! KiB, exit status, microseconds of user and of system time.

use crate::play::{stack, status};
use crate::sys::{self, CLONE_VFORK, CLONE_VM, CloneArgs, SIGCHLD};

const WORDS: usize = 64;
const TEXT: usize = 8192;

/// What the child needs.
struct Command {
    argv: [*const u8; WORDS],
    environment: *const *const u8,
}

/// struct timespec and struct timeval.
#[repr(C)]
#[derive(Default)]
struct Time {
    seconds: u64,
    fraction: u64,
}

/// struct rusage up to the peak memory, and space for the rest.
#[repr(C)]
#[derive(Default)]
struct Usage {
    user: Time,
    system: Time,
    peak: u64,
    rest: [u64; 13],
}

pub fn serve(argv: *const *const u8) -> ! {
    const SET_CHILD_SUBREAPER: u64 = 36;
    let (input, output) = (out_of_the_way(0), out_of_the_way(1));
    // SAFETY: no memory is passed.
    unsafe { sys::call(sys::PRCTL, [SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0]) };
    let mut text = [0u8; TEXT];
    let mut count = 0;
    while !crate::word(argv, count).is_empty() {
        count += 1;
    }
    // The environment follows the arguments and their null pointer.
    let environment = argv.wrapping_add(count + 1);
    loop {
        let mut length = [0u8; 4];
        if !read(input, &mut length) {
            sys::exit(0);
        }
        let length = u32::from_le_bytes(length) as usize;
        let Some(request) = text.get_mut(..length) else { sys::fail(b"too long a request: ", length as u64, 0) };
        if !read(input, request) {
            sys::exit(0);
        }
        reap();
        let answer = run(request, environment);
        let bytes = size_of_val(&answer) as u64;
        // SAFETY: five numbers are that many bytes.
        unsafe { sys::call(sys::WRITE, [output, answer.as_ptr() as u64, bytes, 0, 0, 0]) };
    }
}

/// Moves a standard stream to where commands don't inherit it, and puts
/// /dev/null in its place.
fn out_of_the_way(stream: u64) -> u64 {
    const F_DUPFD_CLOEXEC: u64 = 1030;
    const O_RDWR_CLOEXEC: u64 = 0o2_000_002;
    // SAFETY: no memory is passed.
    let moved = unsafe { sys::call(sys::FCNTL, [stream, F_DUPFD_CLOEXEC, 100, 0, 0, 0]) };
    let null = c"/dev/null".as_ptr() as u64;
    // SAFETY: the path is a C string.
    let null = unsafe { sys::call(sys::OPENAT, [sys::AT_FDCWD, null, O_RDWR_CLOEXEC, 0, 0, 0]) };
    // SAFETY: no memory is passed.
    let placed = unsafe { sys::call(sys::DUP2, [null as u64, stream, 0, 0, 0, 0]) };
    if moved < 0 || null < 0 || placed < 0 {
        sys::fail(b"move stream ", stream, moved.min(null).min(placed));
    }
    moved as u64
}

/// False at the end of the input.
fn read(input: u64, mut into: &mut [u8]) -> bool {
    while !into.is_empty() {
        let (place, length) = (into.as_mut_ptr() as u64, into.len() as u64);
        // SAFETY: the slice is writable and that long.
        let got = unsafe { sys::call(sys::READ, [input, place, length, 0, 0, 0]) };
        if got <= 0 {
            return false;
        }
        into = into.get_mut(got as usize..).unwrap_or_default();
    }
    true
}

/// What commands leave to process 1 ends here, as under a container's monitor:
/// some runtimes wait until somebody has taken the status.
fn reap() {
    const ANY: u64 = -1_i64 as u64;
    const WNOHANG: u64 = 1;
    // SAFETY: nothing is asked for that would be written.
    while unsafe { sys::call(sys::WAIT4, [ANY, 0, WNOHANG, 0, 0, 0]) } > 0 {}
}

fn run(request: &[u8], environment: *const *const u8) -> [u64; 5] {
    let mut command = Command { argv: [core::ptr::null(); WORDS], environment };
    let words = request.split_inclusive(|byte| *byte == 0);
    // One place is left for the null pointer.
    for (place, word) in command.argv.iter_mut().take(WORDS - 1).zip(words) {
        *place = word.as_ptr();
    }
    let (lowest, size) = stack();
    let args = CloneArgs {
        flags: CLONE_VM | CLONE_VFORK,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: SIGCHLD,
        stack: lowest,
        stack_size: size,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    let (mut wait_status, mut usage) = (0u32, Usage::default());
    let begin = now();
    // SAFETY: CLONE_VFORK is set, and the stack is free between two commands.
    let pid = unsafe { sys::clone_onto(&args, execute, &raw const command as u64) };
    let (to_status, to_usage) = (&raw mut wait_status as u64, &raw mut usage as u64);
    // SAFETY: both places are there to be written.
    let ended = unsafe { sys::call(sys::WAIT4, [pid as u64, to_status, 0, to_usage, 0, 0]) };
    let nanoseconds = now() - begin;
    if ended < 0 {
        sys::fail(b"wait for ", pid.unsigned_abs(), ended);
    }
    let micros = |time: &Time| time.seconds * 1_000_000 + time.fraction;
    [nanoseconds, usage.peak, status(wait_status), micros(&usage.user), micros(&usage.system)]
}

extern "C" fn execute(command: u64) -> ! {
    // SAFETY: the parent's `command`, which stands still meanwhile.
    let command = unsafe { &*(command as *const Command) };
    let (argv, environment) = (command.argv.as_ptr() as u64, command.environment as u64);
    // SAFETY: both lists end with a null pointer.
    unsafe { sys::call(sys::EXECVE, [command.argv[0] as u64, argv, environment, 0, 0, 0]) };
    sys::exit(127)
}

fn now() -> u64 {
    const MONOTONIC: u64 = 1;
    let mut time = Time::default();
    // SAFETY: there is a struct timespec to be written.
    unsafe { sys::call(sys::CLOCK_GETTIME, [MONOTONIC, &raw mut time as u64, 0, 0, 0, 0]) };
    time.seconds * 1_000_000_000 + time.fraction
}
