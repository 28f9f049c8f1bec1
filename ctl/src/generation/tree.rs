//! Directories are removed without what is mounted in them.

use anyhow::{Context, Result};
use rustix::fs::{IFlags, Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Removes a directory and what is in it. What is mounted there is unmounted first, so that files of
/// other places are never removed; immutable files (NixOS's var/empty) are made mutable.
pub fn remove(path: &Path) -> Result<()> {
    for place in mount_points(path)?.iter().rev() {
        unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .with_context(|| format!("unmount {}", place.display()))?;
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_mutable(path)?;
            Ok(std::fs::remove_dir_all(path)?)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

/// What is mounted at the path and below, in the order in which it was mounted.
fn mount_points(path: &Path) -> Result<Vec<PathBuf>> {
    let path = std::fs::canonicalize(path)?;
    let mounts = std::fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let points = mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.map(unescaped).filter(|point| point.starts_with(&path)).collect())
}

/// Blanks, newlines and backslashes are `\OOO` in proc_pid_mountinfo(5).
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

fn make_mutable(directory: &Path) -> Result<()> {
    let what = || directory.display().to_string();
    for entry in std::fs::read_dir(directory).with_context(what)? {
        let entry = entry.with_context(what)?;
        let kind = entry.file_type().with_context(what)?;
        if kind.is_dir() {
            make_mutable(&entry.path())?;
        }
        if kind.is_file() {
            clear_flags(&entry.path());
        }
    }
    clear_flags(directory);
    Ok(())
}

/// Where that fails the removal says so.
fn clear_flags(path: &Path) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&file) {
        let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
        if flags.intersects(fixed) {
            let _ = rustix::fs::ioctl_setflags(&file, flags - fixed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_mountinfo_may_hold_any_byte() {
        for (text, path) in [("/a\\040b\\134c", "/a b\\c"), ("/x\\9", "/x\\9"), ("/\\012", "/\n")] {
            assert_eq!(unescaped(text.as_bytes()), Path::new(path), "{text}");
        }
    }
}
