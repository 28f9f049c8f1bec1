//! The machine's cgroup v2, as it was before criu came: criu mounts it once more
//! and without options, and so takes nsdelegate and its like from the machine
//! itself (criu's issue 3029). They are what keeps containers in their bounds.

use crate::error::{Context, Result};
use crate::log::Log;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, XattrFlags};
use rustix::mount::FsPickFlags;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// Where cgroup v2 is mounted, and its options.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    place: PathBuf,
    options: Vec<String>,
}

/// While some criu works, what the options were before the first came.
const RECORD: &CStr = c"trusted.firn.options";

/// Does `work`, and gives the machine's hierarchy its options back.
pub fn keep<T>(log: &Log, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(seen) = look() else { return work() };
    let held = hold(&seen).doing(|| format!("lock {}", seen.place.display()))?;
    let result = work();
    if look().is_some_and(|now| now.options != held.before.options)
        && let Err(error) = held.before.put_back()
    {
        log.warn(&format!("criu has taken options from {}: {}", seen.place.display(), error.chain()));
    }
    result
}

/// What somebody has whose criu works: a shared lock on the top of the hierarchy.
struct Held {
    before: Hierarchy,
    _lock: OwnedFd,
}

/// Several may work at once, and must: a dump can wait for a restore to fetch its
/// pages. Only the first sees what the options were, and leaves it to the others.
fn hold(seen: &Hierarchy) -> rustix::io::Result<Held> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&seen.place, flags, Mode::empty())?;
    let first = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok();
    let options = if first {
        let options = look().map_or_else(|| seen.options.clone(), |now| now.options);
        rustix::fs::fsetxattr(&dir, RECORD, options.join(",").as_bytes(), XattrFlags::empty())?;
        options
    } else {
        // Whoever writes the record holds the lock alone until it is there.
        rustix::fs::flock(&dir, FlockOperation::LockShared)?;
        let mut record = [0; 1024];
        let length = rustix::fs::fgetxattr(&dir, RECORD, &mut record)?;
        let text = String::from_utf8_lossy(&record[..length]);
        text.split(',').filter(|option| !option.is_empty()).map(String::from).collect()
    };
    rustix::fs::flock(&dir, FlockOperation::LockShared)?;
    Ok(Held { before: Hierarchy { place: seen.place.clone(), options }, _lock: dir })
}

fn look() -> Option<Hierarchy> {
    parse(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// proc_pid_mountinfo(5): the options of the file system come last.
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
    fn put_back(&self) -> Result<()> {
        let set = |place: &Path| {
            let context = rustix::mount::fspick(CWD, place, FsPickFlags::FSPICK_CLOEXEC)?;
            for option in &self.options {
                rustix::mount::fsconfig_set_flag(&context, option.as_str())?;
            }
            rustix::mount::fsconfig_reconfigure(&context)
        };
        set(&self.place).doing(|| format!("put {} back", self.options.join(",")))
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
