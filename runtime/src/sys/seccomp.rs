//! seccomp(2): installs a filter.

use super::syscall;
use rustix::fd::{FromRawFd, OwnedFd};

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER: the result is the descriptor of user notifications.
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

/// SECCOMP_SET_MODE_FILTER for the calling thread. Returns the listener where `flags` has
/// FLAG_NEW_LISTENER. Errors: EACCES without no_new_privs and without CAP_SYS_ADMIN in
/// the user namespace; EINVAL for a program of more than 65535 instructions.
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
