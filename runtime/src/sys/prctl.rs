//! prctl(2) in the forms that init needs.

use super::{check, syscall};
use std::ffi::CStr;

fn prctl(option: libc::c_int, a: u64, b: u64) -> rustix::io::Result<libc::c_long> {
    // SAFETY: all callers in this file pass options whose arguments are integers.
    check(unsafe { libc::prctl(option, a, b, 0u64, 0u64) }.into())
}

/// Whether others may attach to this process and read its /proc files
/// (CVE-2016-9962: a half-made container must not reach its runtime).
pub fn set_dumpable(dumpable: bool) -> rustix::io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into(), 0).map(drop)
}

pub fn set_no_new_privs() -> rustix::io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Permitted capabilities outlive the change of user until the next execve.
pub fn set_keep_caps(keep: bool) -> rustix::io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// EINVAL past the kernel's last capability.
pub fn drop_bounding(capability: u8) -> rustix::io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

pub fn raise_ambient(capability: u8) -> rustix::io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability.into()).map(drop)
}

/// Orphans of this process's descendants become its children.
pub fn set_child_subreaper() -> rustix::io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// The execution domain, personality(2).
pub fn set_personality(persona: u32) -> rustix::io::Result<()> {
    // SAFETY: personality takes one integer.
    unsafe { syscall!(libc::SYS_personality, persona as libc::c_ulong)? };
    Ok(())
}

pub fn set_domainname(name: &CStr) -> rustix::io::Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length belong to one live slice.
    unsafe { syscall!(libc::SYS_setdomainname, bytes.as_ptr(), bytes.len())? };
    Ok(())
}

pub fn set_hostname(name: &CStr) -> rustix::io::Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length belong to one live slice.
    unsafe { syscall!(libc::SYS_sethostname, bytes.as_ptr(), bytes.len())? };
    Ok(())
}
