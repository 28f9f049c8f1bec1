//! prctl(2), personality(2), sethostname(2), setdomainname(2).

use super::{check, syscall};
use std::ffi::CStr;

fn prctl(option: libc::c_int, a: u64, b: u64) -> rustix::io::Result<libc::c_long> {
    // SAFETY: all callers in this file pass options whose arguments are integers.
    check(unsafe { libc::prctl(option, a, b, 0u64, 0u64) }.into())
}

/// PR_SET_DUMPABLE. False makes /proc/PID root-owned and refuses ptrace(2) attach from a
/// process without CAP_SYS_PTRACE in the user namespace of this one's memory: against
/// CVE-2016-9962, where a container's process reached the host's directories by the
/// descriptors of a process that was joining.
pub fn set_dumpable(dumpable: bool) -> rustix::io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into(), 0).map(drop)
}

/// PR_SET_NO_NEW_PRIVS: execve(2) grants no privileges from now on, in descendants too.
pub fn set_no_new_privs() -> rustix::io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// PR_SET_KEEPCAPS: setresuid(2) from 0 keeps the permitted set. Cleared by execve(2).
pub fn set_keep_caps(keep: bool) -> rustix::io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// PR_CAPBSET_DROP. Errors: EINVAL beyond the kernel's last capability.
pub fn drop_bounding(capability: u8) -> rustix::io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// PR_CAP_AMBIENT_RAISE. Errors: EPERM where the capability is not both permitted and
/// inheritable.
pub fn raise_ambient(capability: u8) -> rustix::io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability.into()).map(drop)
}

/// PR_SET_CHILD_SUBREAPER: orphaned descendants become children of this process.
pub fn set_child_subreaper() -> rustix::io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// Sets the execution domain, personality(2).
pub fn set_personality(persona: u32) -> rustix::io::Result<()> {
    // SAFETY: personality takes one integer.
    unsafe { syscall!(libc::SYS_personality, persona as libc::c_ulong)? };
    Ok(())
}

/// The NIS domain name of the UTS namespace, setdomainname(2).
pub fn set_domainname(name: &CStr) -> rustix::io::Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length belong to one live slice.
    unsafe { syscall!(libc::SYS_setdomainname, bytes.as_ptr(), bytes.len())? };
    Ok(())
}

/// The host name of the UTS namespace, sethostname(2).
pub fn set_hostname(name: &CStr) -> rustix::io::Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length belong to one live slice.
    unsafe { syscall!(libc::SYS_sethostname, bytes.as_ptr(), bytes.len())? };
    Ok(())
}
