//! mount_setattr(2) (Linux 5.12), which rustix does not have, and its constants.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd};

/// MOUNT_ATTR_* of linux/mount.h.
pub const ATTR_RDONLY: u64 = 0x1;
pub const ATTR_NOSUID: u64 = 0x2;
pub const ATTR_NODEV: u64 = 0x4;
pub const ATTR_NOEXEC: u64 = 0x8;
/// MOUNT_ATTR__ATIME: the mask of the three access-time modes. A change of mode must
/// clear it, mount_setattr(2).
pub const ATTR_ATIME: u64 = 0x70;
pub const ATTR_NOATIME: u64 = 0x10;
pub const ATTR_STRICTATIME: u64 = 0x20;
/// The flags that mount(2) replaces as a whole with MS_REMOUNT | MS_BIND, less those of
/// access times.
pub const ATTR_BIND_REMOUNT: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW;
pub const ATTR_NODIRATIME: u64 = 0x80;
/// An idmapped mount (Linux 5.12).
pub const ATTR_IDMAP: u64 = 0x10_0000;
/// Linux 5.14.
pub const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

/// Propagation types, mount_namespaces(7); the values are those of mount(2).
pub const PROPAGATION_SHARED: u64 = libc::MS_SHARED;
pub const PROPAGATION_SLAVE: u64 = libc::MS_SLAVE;
pub const PROPAGATION_PRIVATE: u64 = libc::MS_PRIVATE;
pub const PROPAGATION_UNBINDABLE: u64 = libc::MS_UNBINDABLE;

const AT_EMPTY_PATH: libc::c_uint = 0x1000;
const AT_RECURSIVE: libc::c_uint = 0x8000;

/// struct mount_attr, linux/mount.h: attributes to set and to clear, one propagation
/// type or 0, the user namespace of an idmapped mount or 0.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MountAttr {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub userns_fd: u64,
}

impl MountAttr {
    /// Whether mount_setattr(2) with it would change nothing.
    pub fn is_noop(&self) -> bool {
        *self == MountAttr::default()
    }
}

/// Changes the mount at `/` and all below it (AT_RECURSIVE).
pub fn setattr_root(attr: &MountAttr) -> rustix::io::Result<()> {
    // SAFETY: as in `setattr`, with another path.
    unsafe {
        syscall!(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            AT_RECURSIVE,
            &raw const *attr,
            size_of::<MountAttr>()
        )?
    };
    Ok(())
}

/// Changes the mount whose root is `fd`, and with `recursive` all below it. Errors:
/// EPERM for an attribute that is locked in a user namespace, mount_namespaces(7).
pub fn setattr(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> rustix::io::Result<()> {
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attr` is a struct mount_attr of
    // the size passed, and both outlive the call.
    unsafe {
        syscall!(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const *attr,
            size_of::<MountAttr>()
        )?
    };
    Ok(())
}
