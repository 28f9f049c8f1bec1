//! Preserves the mount options of the host's cgroup v2. CRIU mounts it again without options,
//! which clears nsdelegate and others on the host's hierarchy as well (CRIU issue 3029):
//! with nsdelegate, a container's cgroup namespace is a delegation boundary.

use crate::error::{Context, Result};
use crate::log::Log;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, XattrFlags};
use rustix::mount::FsPickFlags;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// A mount of cgroup v2, with the options of its super block.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    place: PathBuf,
    options: Vec<String>,
}

/// Extended attribute of the mount point with the options before the first CRIU, while any
/// runs.
const RECORD: &CStr = c"trusted.firn.options";

/// Calls `work`, and then restores the options. A failure to restore them is logged as a
/// warning.
pub fn preserve_options<T>(log: &Log, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(seen) = find_cgroup2() else { return work() };
    let saved = save_options(&seen).doing(|| format!("lock {}", seen.place.display()))?;
    let result = work();
    if find_cgroup2().is_some_and(|now| now.options != saved.before.options)
        && let Err(error) = saved.before.restore_options()
    {
        log.warn(&format!("CRIU has cleared mount options of {}: {}", seen.place.display(), error.chain()));
    }
    result
}

/// The options before, and a shared flock(2) on the mount point while CRIU runs.
struct SavedOptions {
    before: Hierarchy,
    _lock: OwnedFd,
}

/// CRIUs may run concurrently, and have to: a lazy-pages dump waits for a restore. Only the
/// first sees the original options, and stores them for the others.
fn save_options(seen: &Hierarchy) -> rustix::io::Result<SavedOptions> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&seen.place, flags, Mode::empty())?;
    let first = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok();
    let options = if first {
        let options = find_cgroup2().map_or_else(|| seen.options.clone(), |now| now.options);
        rustix::fs::fsetxattr(&dir, RECORD, options.join(",").as_bytes(), XattrFlags::empty())?;
        options
    } else {
        // The first holds the exclusive lock until it has stored the options.
        rustix::fs::flock(&dir, FlockOperation::LockShared)?;
        let mut record = [0; 1024];
        let length = rustix::fs::fgetxattr(&dir, RECORD, &mut record)?;
        let text = String::from_utf8_lossy(&record[..length]);
        text.split(',').filter(|option| !option.is_empty()).map(String::from).collect()
    };
    rustix::fs::flock(&dir, FlockOperation::LockShared)?;
    Ok(SavedOptions { before: Hierarchy { place: seen.place.clone(), options }, _lock: dir })
}

fn find_cgroup2() -> Option<Hierarchy> {
    parse(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// From proc_pid_mountinfo(5); the super block's options are the last field.
fn parse(mountinfo: &str) -> Option<Hierarchy> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let place = mount.split(' ').nth(4)?;
        if file_system.next() != Some("cgroup2") || !place.starts_with("/sys/fs/cgroup") {
            return None;
        }
        let options = file_system.nth(1)?.split(',').filter(|option| !matches!(*option, "rw" | "ro"));
        Some(Hierarchy { place: place.into(), options: options.map(String::from).collect() })
    })
}

impl Hierarchy {
    fn restore_options(&self) -> Result<()> {
        let set = |place: &Path| {
            let context = rustix::mount::fspick(CWD, place, FsPickFlags::FSPICK_CLOEXEC)?;
            for option in &self.options {
                rustix::mount::fsconfig_set_flag(&context, option.as_str())?;
            }
            rustix::mount::fsconfig_reconfigure(&context)
        };
        set(&self.place).doing(|| format!("set the mount options {} again", self.options.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_of_the_file_system() {
        let text = "29 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
                    35 29 0:28 / /sys/fs/cgroup rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        let found = parse(text).unwrap();
        assert_eq!(found.place, Path::new("/sys/fs/cgroup"));
        assert_eq!(found.options, ["nsdelegate", "memory_recursiveprot"]);
        assert_eq!(parse("29 1 254:0 / /mnt rw - cgroup2 x rw\n"), None);
    }
}
