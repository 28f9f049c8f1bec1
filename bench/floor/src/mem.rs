//! The functions of a C library that the compiler calls by itself. By string
//! instructions, since it would make a loop into a call of the same function.

use core::arch::asm;

/// # Safety
/// As memcpy(3).
// SAFETY: the one symbol of its name, with C's signature; so are the others.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller's memory, of the length that it says.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack));
    }
    to
}

/// # Safety
/// As memmove(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if to.cast_const() <= from || length == 0 {
        // SAFETY: upwards, what is overwritten has been read before.
        return unsafe { memcpy(to, from, length) };
    }
    let (to_end, from_end) = (to.wrapping_add(length - 1), from.wrapping_add(length - 1));
    // SAFETY: the same downwards, with the direction set back at the end.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") length => _, inout("rdi") to_end => _, inout("rsi") from_end => _);
    }
    to
}

/// # Safety
/// As memset(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: the caller's memory, of the length that it says.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte as u8, options(nostack));
    }
    to
}

/// # Safety
/// As memcmp(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: both have that many bytes.
        let ours = unsafe { *one.wrapping_add(at) };
        // SAFETY: as above.
        let theirs = unsafe { *other.wrapping_add(at) };
        if ours != theirs {
            return i32::from(ours) - i32::from(theirs);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(one, other, length) }
}

/// # Safety
/// As strlen(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let left: usize;
    // SAFETY: the text ends with a NUL byte, and so does the search.
    unsafe {
        asm!("repne scasb", inout("rcx") usize::MAX => left, inout("rdi") text => _, in("al") 0u8, options(nostack));
    }
    // The NUL byte was counted too, and so was the start at -1.
    !left - 1
}

/// The unwinding tables of Rust's core name it; nothing here unwinds.
// SAFETY: the one symbol of its name, and never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
