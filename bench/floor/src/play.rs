//! Playing a score.

use crate::sys::{self, AT_FDCWD, CloneArgs};
use firn_floor::score::{BASE, CALL, CLONE, Call, DATA, END, RETRY, SIZE};

/// One page is plenty for calls without depth.
const STACK: usize = 16 * 1024;

#[repr(align(16))]
struct Stack(core::cell::UnsafeCell<[u8; STACK]>);

// SAFETY: only a child of CLONE_VFORK uses it, while its parent stands still.
unsafe impl Sync for Stack {}

static CHILD: Stack = Stack(core::cell::UnsafeCell::new([0; STACK]));

/// The lowest address of the child's stack, and its size.
pub fn stack() -> (u64, u64) {
    (CHILD.0.get() as u64, STACK as u64)
}

pub fn play(score: &[u8]) -> ! {
    const O_CLOEXEC: u64 = 0o2_000_000;
    const READ_WRITE: u64 = 3;
    const PRIVATE_FIXED: u64 = 0x12;
    // SAFETY: an argument ends with a NUL byte.
    let file = unsafe { sys::call(sys::OPENAT, [AT_FDCWD, score.as_ptr() as u64, O_CLOEXEC, 0, 0, 0]) };
    if file < 0 {
        sys::fail(b"open the score, argument ", 2, file);
    }
    // SAFETY: the program and its stack lie elsewhere: linked at 2 MiB, and at
    // the end of memory.
    let at = unsafe { sys::call(sys::MMAP, [BASE, SIZE, READ_WRITE, PRIVATE_FIXED, file as u64, 0]) };
    if at < 0 {
        sys::fail(b"map the score, argument ", 2, at);
    }
    go_on(0)
}

/// Plays from that call on.
extern "C" fn go_on(first: u64) -> ! {
    let mut number = first;
    loop {
        if number >= DATA / size_of::<Call>() as u64 {
            sys::fail(b"no end after call ", number, 0);
        }
        // SAFETY: the score is mapped and has a call, if of zeros, at each place.
        let call = unsafe { *(BASE as *const Call).wrapping_add(number as usize) };
        number = match call.kind {
            CLONE => clone(&call, number),
            END => sys::exit(status(number32(call.args[0]))),
            _ => {
                one(&call, number);
                number + 1
            }
        };
    }
}

fn one(call: &Call, number: u64) {
    let mut args = call.args;
    for (place, argument) in args.iter_mut().enumerate() {
        if call.indirect & 1 << place != 0 {
            *argument = number32(*argument) as i32 as u64;
        }
    }
    loop {
        // SAFETY: the author of the score is responsible for its arguments.
        let result = unsafe { sys::call(call.number, args) };
        match (call.kind, result) {
            (RETRY, sys::EBUSY) => {
                // SAFETY: no arguments.
                unsafe { sys::call(sys::SCHED_YIELD, [0; 6]) };
            }
            (CALL | RETRY, 0..) => return store(call.result, result),
            _ => sys::fail(b"call ", number, result),
        }
    }
}

/// In the parent; the child plays on from the next call.
fn clone(call: &Call, number: u64) -> u64 {
    let args = call.args[0] as *mut CloneArgs;
    // SAFETY: a clone's first argument is the place of its arguments.
    let args = unsafe { &mut *args };
    (args.stack, args.stack_size) = stack();
    // SAFETY: scores clone with CLONE_VM and CLONE_VFORK, one child at a time.
    let pid = unsafe { sys::clone_onto(args, go_on, number + 1) };
    if pid < 0 {
        sys::fail(b"clone in call ", number, pid);
    }
    store(call.result, pid);
    call.args[2]
}

fn number32(address: u64) -> u32 {
    // SAFETY: an address in the score.
    unsafe { *(address as *const u32) }
}

fn store(address: u64, result: i64) {
    if address != 0 {
        // SAFETY: an address in the score, which is mapped to be written.
        unsafe { *(address as *mut u32) = result as u32 };
    }
}

/// wait(2)'s status as a shell's.
pub fn status(status: u32) -> u64 {
    let signal = status & 0x7f;
    u64::from(if signal == 0 { status >> 8 & 0xff } else { 128 + signal })
}
