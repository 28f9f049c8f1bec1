//! Session keyrings, keyctl(2).

use super::syscall;
use std::ffi::CStr;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives the process a session keyring of its own, so that it can't read the
/// keys of whoever started the runtime.
pub fn join_session_keyring(name: &CStr) -> rustix::io::Result<()> {
    // SAFETY: `name` is a C string that outlives the call.
    unsafe { syscall!(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())? };
    Ok(())
}
