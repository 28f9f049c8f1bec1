//! The host's procfs and sysfs, with --no-pivot.

use super::context::Init;
use crate::error::{Context, Result};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Unmounts the host's procfs and sysfs, which with MS_MOVE stay in the mount namespace
/// under the new root. They can't be reached by path; but mount_too_revealing() of the
/// kernel lets a user namespace mount a new procfs or sysfs without masks exactly where a
/// mount without masks is present: the container would uncover its masked paths.
#[expect(clippy::disallowed_methods, reason = "paths of the host, before the root is entered")]
pub fn unmount_kernel_fs(init: &mut Init<'_>) -> Result<()> {
    // Mounted now: in a user namespace a procfs needs such a mount.
    init.state.proc()?;
    let own = std::fs::canonicalize(&init.plan.rootfs)
        .doing(|| format!("resolve root.path {}", init.plan.rootfs.display()))?;
    let text = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo")?;
    for mount_point in whole_mounts(&text).filter(|mount_point| !mount_point.starts_with(&own)) {
        match rustix::mount::unmount(&mount_point, UnmountFlags::DETACH) {
            // In a user namespace a mount of the host's is locked: a tmpfs covers it.
            Err(Errno::INVAL | Errno::PERM) => {
                let flags = rustix::mount::MountFlags::empty();
                rustix::mount::mount("tmpfs", &mount_point, "tmpfs", flags, None)
            }
            // Below one that is unmounted by now.
            Err(Errno::NOENT) => Ok(()),
            result => result,
        }
        .doing(|| format!("unmount the host's {}", mount_point.display()))?;
    }
    Ok(())
}

/// The mount points of procfs and sysfs mounts whose root is `/`, proc_pid_mountinfo(5).
fn whole_mounts(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let kind = file_system.split(' ').next()?;
        (root == "/" && matches!(kind, "proc" | "sysfs")).then(|| unescape(mount_point))
    })
}

/// Decodes the octal escapes of mountinfo: \040 is a space.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_kernel_mounts_are_found_by_their_real_names() {
        let text = "22 1 0:5 / /proc rw - proc proc rw\n23 1 0:6 /sys /a rw - proc x rw\n\
                    24 1 0:7 / /a\\040b/sys rw shared:2 - sysfs sysfs rw\n25 1 8:1 / / rw - ext4 /dev/x rw\n";
        let found: Vec<_> = whole_mounts(text).collect();
        assert_eq!(found, [PathBuf::from("/proc"), PathBuf::from("/a b/sys")]);
    }
}
