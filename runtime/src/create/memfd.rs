//! Files in memory, with the word that says whether they hold a program: the sysctl
//! vm.memfd_noexec makes those without one unfit to be run (1), or refuses all but
//! those that say they never will be (2).

use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, Result};
use std::ffi::CStr;

/// One that holds data.
pub fn data(name: &CStr) -> Result<OwnedFd> {
    create(name, MemfdFlags::CLOEXEC, MemfdFlags::NOEXEC_SEAL)
}

/// One that holds a program, and can be sealed. Errors: EACCES where
/// vm.memfd_noexec is 2.
pub fn program(name: &CStr) -> Result<OwnedFd> {
    create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING, MemfdFlags::EXEC)
}

/// Before Linux 6.3 the word is unknown, and so is the sysctl.
fn create(name: &CStr, flags: MemfdFlags, word: MemfdFlags) -> Result<OwnedFd> {
    match memfd_create(name, flags | word) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        result => result,
    }
}
