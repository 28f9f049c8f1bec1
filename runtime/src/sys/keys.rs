//! Session keyrings, keyctl(2), and getrandom(2) for their names.

use super::syscall;
use std::ffi::CStr;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEYCTL_SETPERM: libc::c_int = 5;
const KEYCTL_DESCRIBE: libc::c_int = 6;

/// The serial number of a key, keyrings(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial(i32);

/// KEYCTL_JOIN_SESSION_KEYRING: a new anonymous keyring, or the one called `name`, which
/// is created where none can be searched. Errors: EDQUOT, ENOSYS without CONFIG_KEYS.
pub fn join_session_keyring(name: Option<&CStr>) -> rustix::io::Result<Serial> {
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: `name` is null or a C string that outlives the call.
    let serial = unsafe { syscall!(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name)? };
    Ok(Serial(serial as i32))
}

/// KEYCTL_SETPERM on a key of the caller's, keyctl_setperm(3).
pub fn set_permissions(key: Serial, permissions: u32) -> rustix::io::Result<()> {
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_keyctl, KEYCTL_SETPERM, key.0, permissions)? };
    Ok(())
}

/// KEYCTL_DESCRIBE: `type;uid;gid;permissions;name`, keyctl_describe(3), cut at 512 bytes.
pub fn describe(key: Serial) -> rustix::io::Result<String> {
    let mut text = [0u8; 512];
    // SAFETY: pointer and length belong to one live array; the kernel writes no more.
    let length = unsafe { syscall!(libc::SYS_keyctl, KEYCTL_DESCRIBE, key.0, text.as_mut_ptr(), text.len())? };
    // The result counts the terminating NUL.
    let length = text.len().min((length as usize).saturating_sub(1));
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

/// 128 random bits, getrandom(2).
pub fn random_u128() -> rustix::io::Result<u128> {
    let mut bytes = [0u8; 16];
    // SAFETY: pointer and length belong to one live array.
    unsafe { syscall!(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0u32)? };
    Ok(u128::from_ne_bytes(bytes))
}
