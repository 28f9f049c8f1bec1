//! execve(2) and execveat(2) with vectors that were prepared beforehand.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// A NULL-terminated vector of C strings, as execve takes it.
#[derive(Debug)]
pub struct CVec {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CVec {
    pub fn new(strings: Vec<CString>) -> Self {
        let end = std::iter::once(std::ptr::null());
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(end).collect();
        CVec { strings, pointers }
    }

    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces the program; returns only the error.
pub fn execve(path: &CStr, argv: &CVec, envp: &CVec) -> Errno {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    // SAFETY: `path` is a C string and both vectors end in NULL; their strings
    // are owned by the CVecs, which outlive the call.
    match unsafe { syscall!(libc::SYS_execve, path.as_ptr(), argv, envp) } {
        Ok(_) => Errno::IO,
        Err(errno) => errno,
    }
}

/// Replaces the program by the file behind `fd`; returns only the error.
pub fn fexecve(fd: BorrowedFd<'_>, argv: &CVec, envp: &CVec) -> Errno {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    // SAFETY: as in `execve`; the path is an empty C string.
    let result = unsafe { syscall!(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH) };
    match result {
        Ok(_) => Errno::IO,
        Err(errno) => errno,
    }
}

/// Ends a forked child at once, without the exit handlers of its parent.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Ends the calling thread alone, and runs nothing of the C library or of Rust:
/// what the thread owns stays as it is.
pub fn exit_thread() -> ! {
    loop {
        // SAFETY: exit(2) has no preconditions; the stack is leaked, so nothing
        // that others may still see goes away.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Whether this user may execute the file behind `fd`, an O_PATH descriptor
/// (faccessat2(2), Linux 5.8).
pub fn may_execute(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty C string; nothing is written.
    unsafe { syscall!(libc::SYS_faccessat2, fd.as_raw_fd(), c"".as_ptr(), libc::X_OK, flags)? };
    Ok(())
}
