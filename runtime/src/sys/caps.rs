//! capset(2) with sets as 64-bit masks, bit n for capability n.

use super::syscall;

/// CAP_SYS_ADMIN as a mask, linux/capability.h.
pub const SYS_ADMIN: u64 = 1 << 21;
/// _LINUX_CAPABILITY_VERSION_3: two 32-bit words for each set.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets the calling thread's effective, permitted and inheritable sets, capset(2).
/// Errors: EPERM where a capability is added that the permitted set lacks.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> rustix::io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let word = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: version 3 reads a header and two data words, which both live here.
    unsafe { syscall!(libc::SYS_capset, &raw mut header, data.as_ptr())? };
    Ok(())
}

/// The calling thread's permitted set, capget(2).
pub fn permitted() -> rustix::io::Result<u64> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes two data words into an array of two.
    unsafe { syscall!(libc::SYS_capget, &raw mut header, data.as_mut_ptr())? };
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}
