//! The only unsafe code.
#![allow(unsafe_code)]

use rustix::thread::UnshareFlags;

/// Leaves the user and mount namespaces for new ones, unshare(2). Errors: EPERM and ENOSPC where
/// user namespaces are restricted.
pub(crate) fn unshare_user_and_mount() -> rustix::io::Result<()> {
    // SAFETY: without CLONE_FILES no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
}
