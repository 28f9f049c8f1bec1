//! execve(2) and execveat(2) with vectors that are allocated beforehand.

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
    /// The vector of `strings`, which it owns.
    pub fn new(strings: Vec<CString>) -> Self {
        let end = std::iter::once(std::ptr::null());
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(end).collect();
        CVec { strings, pointers }
    }

    /// The strings, without the terminating NULL.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// execve(2); returns only on error.
pub fn execve(path: &CStr, argv: &CVec, envp: &CVec) -> Errno {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    // SAFETY: `path` is a C string and both vectors end in NULL; their strings
    // are owned by the CVecs, which outlive the call.
    match unsafe { syscall!(libc::SYS_execve, path.as_ptr(), argv, envp) } {
        Ok(_) => Errno::IO,
        Err(errno) => errno,
    }
}

/// execveat(2) of the file `fd` (AT_EMPTY_PATH); returns only on error.
pub fn fexecve(fd: BorrowedFd<'_>, argv: &CVec, envp: &CVec) -> Errno {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    // SAFETY: as in `execve`; the path is an empty C string.
    let result = unsafe { syscall!(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH) };
    match result {
        Ok(_) => Errno::IO,
        Err(errno) => errno,
    }
}

/// _exit(2): ends the process without the exit handlers that a fork has inherited.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// exit(2) of the calling thread alone. No code of the C library or of Rust runs: its
/// stack and what it owns are leaked.
pub fn exit_thread() -> ! {
    loop {
        // SAFETY: exit(2) has no preconditions; the stack is leaked, so no memory
        // that another thread may see is freed.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Whether the effective ids may execute the file `fd` (O_PATH), faccessat2(2) with
/// AT_EACCESS (Linux 5.8). Errors: EACCES where they may not.
pub fn may_execute(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty C string; nothing is written.
    unsafe { syscall!(libc::SYS_faccessat2, fd.as_raw_fd(), c"".as_ptr(), libc::X_OK, flags)? };
    Ok(())
}
