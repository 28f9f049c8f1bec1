//! The only unsafe code: one file for each family of system calls that rustix
//! does not have, or has only in a form that needs `unsafe`.

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod environment;
pub mod exec;
pub mod fds;
pub mod ids;
pub mod keys;
pub mod mount;
pub mod prctl;
pub mod ptrace;
pub mod regex;
pub mod sched;
pub mod seccomp;
#[cfg(feature = "internals")]
pub mod seccomp_agent;
pub mod signal;
pub mod tty;

use rustix::io::Errno;

/// The C library's -1 as an errno.
fn check(result: libc::c_long) -> rustix::io::Result<libc::c_long> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// syscall(2) with integers and pointers, as a Result.
macro_rules! syscall {
    ($number:expr $(, $arg:expr)* $(,)?) => {
        $crate::sys::check(libc::syscall($number $(, $arg)*))
    };
}
pub(crate) use syscall;
