//! User and group ids of the calling thread: real, effective and saved at once.

use super::syscall;

/// setresuid(2). Errors: EINVAL where the id is not mapped in the user namespace.
pub fn set_uid(uid: u32) -> rustix::io::Result<()> {
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_setresuid, uid, uid, uid)? };
    Ok(())
}

/// setresgid(2). Errors: EINVAL where the id is not mapped in the user namespace.
pub fn set_gid(gid: u32) -> rustix::io::Result<()> {
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_setresgid, gid, gid, gid)? };
    Ok(())
}

/// Sets the supplementary groups, setgroups(2). Errors: EPERM where
/// /proc/PID/setgroups is `deny`, user_namespaces(7).
pub fn set_groups(gids: &[u32]) -> rustix::io::Result<()> {
    // SAFETY: pointer and length belong to one live slice.
    unsafe { syscall!(libc::SYS_setgroups, gids.len(), gids.as_ptr())? };
    Ok(())
}
