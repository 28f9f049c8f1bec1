//! Virtual file systems of the kernel (procfs, sysfs, cgroup and the like), by their magic.

use crate::error::{Context, Result};
use rustix::fd::AsFd;

/// f_type of statfs(2), linux/magic.h.
pub const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// f_type of statfs(2), linux/magic.h.
pub const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Type and magic, linux/magic.h (smackfs: security/smack/smack.h). Write access to their
/// files is access to the host: core_pattern, uevent_helper, release_agent.
const KERNEL_FILE_SYSTEMS: [(&str, u64); 14] = [
    ("proc", PROC_SUPER_MAGIC),
    ("sysfs", SYSFS_MAGIC),
    ("cgroup", 0x0027_e0eb),
    ("cgroup2", 0x6367_7270),
    ("debugfs", 0x6462_6720),
    ("tracefs", 0x7472_6163),
    ("securityfs", 0x7363_6673),
    ("selinuxfs", 0xf97c_ff8c),
    ("smackfs", 0x4341_5d53),
    ("bpf", 0xcafe_4a11),
    ("configfs", 0x6265_6570),
    ("pstore", 0x6165_676c),
    ("efivarfs", 0xde5e_81e4),
    ("binfmt_misc", 0x4249_4e4d),
];

/// The magic of the file system of `fd`, fstatfs(2).
pub fn fs_magic(fd: impl AsFd) -> rustix::io::Result<u64> {
    // 32 bits; f_type is signed, and sign-extended by some ABIs.
    Ok(u64::from(rustix::fs::fstatfs(fd)?.f_type as u32))
}

/// The type of the file system of `fd` where it is one of the kernel's.
pub fn kernel_fs_type(fd: impl AsFd) -> Result<Option<&'static str>> {
    let magic = fs_magic(fd).doing(|| "read the file system's type")?;
    Ok(KERNEL_FILE_SYSTEMS.iter().find(|(_, known)| *known == magic).map(|(name, _)| *name))
}

/// Whether `name`, a file system type as in mountinfo, is one of the kernel's.
pub fn is_kernel_fs(name: &str) -> bool {
    KERNEL_FILE_SYSTEMS.iter().any(|(known, _)| *known == name) || name == "resctrl"
}
