//! memfd_create(2) with MFD_EXEC or MFD_NOEXEC_SEAL, as the sysctl vm.memfd_noexec needs:
//! 1 makes a memfd without either non-executable, 2 refuses all but MFD_NOEXEC_SEAL.

use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, Result};
use std::ffi::CStr;

/// A memfd for data. Errors: those of memfd_create(2).
pub fn data(name: &CStr) -> Result<OwnedFd> {
    create(name, MemfdFlags::CLOEXEC, MemfdFlags::NOEXEC_SEAL)
}

/// An executable memfd that can be sealed. Errors: EACCES where vm.memfd_noexec is 2.
pub fn program(name: &CStr) -> Result<OwnedFd> {
    create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING, MemfdFlags::EXEC)
}

/// Retries without `word` for EINVAL: flags and sysctl exist since Linux 6.3.
fn create(name: &CStr, flags: MemfdFlags, word: MemfdFlags) -> Result<OwnedFd> {
    match memfd_create(name, flags | word) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        result => result,
    }
}
