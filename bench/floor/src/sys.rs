//! System calls without a C library, and what the compiler expects of one.

use core::arch::{asm, global_asm};

pub const READ: u32 = 0;
pub const WRITE: u32 = 1;
pub const MMAP: u32 = 9;
pub const SCHED_YIELD: u32 = 24;
pub const DUP2: u32 = 33;
pub const PAUSE: u32 = 34;
pub const EXECVE: u32 = 59;
pub const WAIT4: u32 = 61;
pub const FCNTL: u32 = 72;
pub const PRCTL: u32 = 157;
pub const CLOCK_GETTIME: u32 = 228;
pub const EXIT_GROUP: u32 = 231;
pub const OPENAT: u32 = 257;

pub const EBUSY: i64 = -16;
pub const AT_FDCWD: u64 = -100_i64 as u64;

// The kernel enters with the arguments on the stack; see System V ABI, x86-64.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym crate::main,
);

/// The bare system call; failure is a negative number.
///
/// # Safety
/// As the call with these arguments asks.
pub unsafe fn call(number: u32, args: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the kernel changes rax, rcx and r11 and what the arguments point
    // to, for which the caller answers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") u64::from(number) => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// struct clone_args, linux/sched.h, version 2.
#[repr(C)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

pub const CLONE_VM: u64 = 0x100;
pub const CLONE_VFORK: u64 = 0x4000;
pub const SIGCHLD: u64 = 17;

/// clone3(2) with a stack of its own for the child, which calls `child` and
/// must not return from it.
///
/// # Safety
/// With CLONE_VM the flags must have CLONE_VFORK, and the stack nobody else.
pub unsafe fn clone_onto(args: *const CloneArgs, child: extern "C" fn(u64) -> !, argument: u64) -> i64 {
    let result;
    // SAFETY: the child leaves this code at once, on the stack that `args`
    // names; the parent finds its registers as the kernel keeps them.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") 435_u64 => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r8") argument,
            in("r9") child,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

pub fn exit(status: u64) -> ! {
    loop {
        // SAFETY: no memory is passed.
        unsafe { call(EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// Says what went wrong, and ends.
pub fn fail(what: &[u8], number: u64, error: i64) -> ! {
    print(b"firn-floor: ");
    print(what);
    print_number(number);
    print(b": error ");
    print_number(error.unsigned_abs());
    print(b"\n");
    exit(125)
}

fn print(text: &[u8]) {
    // SAFETY: the slice is readable; nobody is left to tell of a failure.
    unsafe { call(WRITE, [2, text.as_ptr() as u64, text.len() as u64, 0, 0, 0]) };
}

fn print_number(number: u64) {
    if number >= 10 {
        print_number(number / 10);
    }
    print(&[b'0' + (number % 10) as u8]);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}
