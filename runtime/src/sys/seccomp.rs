//! seccomp(2), seccomp_unotify(2): install a filter program, and answer its calls.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
/// The filter's notification descriptor is returned.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;

/// struct sock_filter, linux/filter.h: one instruction of classic BPF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Instruction,
}

/// Installs `filter`. Needs no_new_privs or CAP_SYS_ADMIN in the user
/// namespace. Returns the listener where FLAG_NEW_LISTENER asked for one.
pub fn load(filter: &[Instruction], flags: u32) -> rustix::io::Result<Option<OwnedFd>> {
    let len = u16::try_from(filter.len()).map_err(|_| rustix::io::Errno::INVAL)?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` names a live slice with its own length; the kernel
    // copies it before the call returns.
    let fd = unsafe { syscall!(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program)? };
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with that flag the result is a new descriptor.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// struct seccomp_notif, linux/seccomp.h: a call that waits for an agent.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Call {
    pub id: u64,
    /// As the agent counts.
    pub pid: u32,
    pub flags: u32,
    pub number: i32,
    pub arch: u32,
    pub instruction: u64,
    pub arguments: [u64; 6],
}

/// struct seccomp_notif_resp.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
/// Linux 5.5.
const FLAG_CONTINUE: u32 = 1;

/// What an agent does: waits for the next call.
pub fn next_call(listener: BorrowedFd<'_>) -> rustix::io::Result<Call> {
    // The kernel wants it zeroed.
    let mut call = Call::default();
    // SAFETY: the kernel writes at most one struct of this size.
    super::check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut call) }.into())?;
    Ok(call)
}

/// Lets the call fail with an errno, or go on.
pub fn answer(listener: BorrowedFd<'_>, call: &Call, error: Option<i32>) -> rustix::io::Result<()> {
    let flags = if error.is_some() { 0 } else { FLAG_CONTINUE };
    let mut response = Response { id: call.id, value: 0, error: -error.unwrap_or(0), flags };
    // SAFETY: the kernel reads one struct of this size.
    super::check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut response) }.into())?;
    Ok(())
}
