//! The filter that a process really has.

use firn::internals::sys::seccomp::Instruction;
use std::io::{Error, Result};

const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;

/// Reads the filter that was installed last; the process goes on afterwards.
pub fn filter_of(pid: i32) -> Result<Vec<Instruction>> {
    let process = Stopped::attach(pid)?;
    let count = process.filter(std::ptr::null_mut())?;
    let mut program = vec![Instruction { code: 0, jt: 0, jf: 0, k: 0 }; count];
    process.filter(program.as_mut_ptr())?;
    Ok(program)
}

struct Stopped(i32);

impl Stopped {
    fn attach(pid: i32) -> Result<Self> {
        // SAFETY: seizing and interrupting take no memory of ours.
        check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })?;
        let process = Stopped(pid);
        // SAFETY: as above.
        check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) })?;
        // SAFETY: a null status is allowed.
        check(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) }.into())?;
        Ok(process)
    }

    /// The number of instructions; they are written to `to` unless it is null,
    /// which must have room for all of them.
    fn filter(&self, to: *mut Instruction) -> Result<usize> {
        // SAFETY: the process is stopped, so it has the same filter as when its
        // size was asked for; struct sock_filter has Instruction's layout.
        let count = check(unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, self.0, 0usize, to) })?;
        Ok(count as usize)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: detaching takes no memory of ours.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}

fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}
