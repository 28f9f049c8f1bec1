//! User and group ids of the calling thread, all three at once.

use super::syscall;

pub fn set_uid(uid: u32) -> rustix::io::Result<()> {
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_setresuid, uid, uid, uid)? };
    Ok(())
}

pub fn set_gid(gid: u32) -> rustix::io::Result<()> {
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_setresgid, gid, gid, gid)? };
    Ok(())
}

pub fn set_groups(gids: &[u32]) -> rustix::io::Result<()> {
    // SAFETY: pointer and length belong to one live slice.
    unsafe { syscall!(libc::SYS_setgroups, gids.len(), gids.as_ptr())? };
    Ok(())
}
