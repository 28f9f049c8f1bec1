//! The host's procfs and sysfs, where the root is moved and not pivoted to.

use super::context::Init;
use crate::error::{Context, Result};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The host's procfs and sysfs would stay in the mount namespace under the new
/// root, out of reach; but a user namespace may mount a procfs without masks
/// where one without masks is, and so they must be gone.
#[expect(clippy::disallowed_methods, reason = "paths of the host, before the root is entered")]
pub fn unmount_kernel_fs(init: &mut Init<'_>) -> Result<()> {
    // Which needs one to be made from.
    init.task.proc()?;
    let own = std::fs::canonicalize(&init.plan.rootfs).doing(|| "find the root's place")?;
    let text = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo")?;
    for place in whole_mounts(&text).filter(|place| !place.starts_with(&own)) {
        match rustix::mount::unmount(&place, UnmountFlags::DETACH) {
            // In a user namespace it is locked to what the host has.
            Err(Errno::INVAL | Errno::PERM) => {
                let flags = rustix::mount::MountFlags::empty();
                rustix::mount::mount("tmpfs", &place, "tmpfs", flags, None)
            }
            // It lay below one that is gone.
            Err(Errno::NOENT) => Ok(()),
            result => result,
        }
        .doing(|| format!("take {} away", place.display()))?;
    }
    Ok(())
}

/// Places of whole file systems of these types, proc_pid_mountinfo(5).
fn whole_mounts(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let kind = file_system.split(' ').next()?;
        (root == "/" && matches!(kind, "proc" | "sysfs")).then(|| unescape(place))
    })
}

/// The kernel writes a blank as \040, and so on.
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
