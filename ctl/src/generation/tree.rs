//! Directories are removed without what is mounted in them, whatever a container has made of them.

use crate::host::program;
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::{CStr, CString, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Directories deeper than this are moved up before they are removed: each level takes a descriptor.
const DEPTH: usize = 32;

/// How often what is mounted meanwhile is unmounted.
const TRIES: usize = 5;

/// Removes a directory, if it is there. What is mounted in it is unmounted first, and keeps its files.
pub fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => match remove(path) {
            Err(error) if !nix::unistd::geteuid().is_root() && is_denied(&error) => remove_as_root_inside(path),
            result => result,
        }
        .with_context(|| format!("remove {}", path.display())),
    }
}

fn is_denied(error: &anyhow::Error) -> bool {
    let of_errno = error.downcast_ref::<Errno>().map(|errno| errno.kind());
    let kind = of_errno.or_else(|| error.downcast_ref::<io::Error>().map(io::Error::kind));
    kind == Some(ErrorKind::PermissionDenied)
}

/// What an ordinary user's container has written belongs to other ids of the user's: they are those of a user
/// namespace, whose root may remove it.
fn remove_as_root_inside(path: &Path) -> Result<()> {
    let own = std::env::current_exe().context("find our own path")?;
    let mut unshare = Command::new(program("firn-image"));
    unshare.arg("unshare").arg(own).args(["unit", "remove-tree"]).arg(path);
    let output = unshare.stdin(Stdio::null()).output().context("run firn-image")?;
    if !output.status.success() {
        bail!("firn-image: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Removes a directory and what is in it. What is mounted there is unmounted first, so that files of
/// other places are never removed; immutable files (NixOS's var/empty) are made mutable. No link is
/// followed.
fn remove(path: &Path) -> Result<()> {
    for _ in 0..TRIES {
        unmount_all(path)?;
        match Removal::of(path).and_then(|mut removal| removal.run()) {
            Ok(()) => {
                return std::fs::remove_dir(path).or_else(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error.into()),
                });
            }
            Err(Errno::NOENT) => return Ok(()),
            // Something was mounted there meanwhile.
            Err(Errno::XDEV | Errno::BUSY) => {}
            Err(Errno::NOTDIR) => return Ok(std::fs::remove_file(path)?),
            Err(errno) => return Err(errno.into()),
        }
    }
    bail!("something is mounted in it again and again")
}

fn unmount_all(path: &Path) -> Result<()> {
    for place in mount_points(path)?.iter().rev() {
        unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .with_context(|| format!("unmount {}", place.display()))?;
    }
    Ok(())
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

/// The removal of what is in a directory.
struct Removal {
    top: OwnedFd,
    /// Of directories that were moved up.
    moved: usize,
}

impl Removal {
    fn of(path: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Removal { top: rustix::fs::openat(CWD, path, flags, Mode::empty())?, moved: 0 })
    }

    fn run(&mut self) -> rustix::io::Result<()> {
        let top = rustix::io::fcntl_dupfd_cloexec(&self.top, 3)?;
        loop {
            let before = self.moved;
            self.empty(&top, 0)?;
            if self.moved == before {
                return Ok(());
            }
        }
    }

    /// Removes what is in a directory, but for what it has moved to the top.
    fn empty(&mut self, directory: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
        let names = Dir::read_from(directory)?
            .map(|entry| Ok(entry?.file_name().to_owned()))
            .collect::<rustix::io::Result<Vec<CString>>>()?;
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            match unlink(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => self.remove_directory(directory, name, depth)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn remove_directory(&mut self, parent: &OwnedFd, name: &CStr, depth: usize) -> rustix::io::Result<()> {
        if depth >= DEPTH {
            self.moved += 1;
            let new = format!(".firn-removed-{}", self.moved);
            return rustix::fs::renameat(parent, name, &self.top, new);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // No mount point is entered, also one that has come since we looked.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let directory = match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => return Ok(()),
            result => result?,
        };
        self.empty(&directory, depth + 1)?;
        unlink(parent, name, AtFlags::REMOVEDIR)
    }
}

/// unlinkat(2), also of what is immutable or in such a directory.
fn unlink(directory: &OwnedFd, name: &CStr, flags: AtFlags) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, flags) {
        Err(Errno::PERM) => {
            clear_flags(directory);
            make_mutable(directory, name);
            rustix::fs::unlinkat(directory, name, flags)
        }
        result => result,
    }
}

/// Only of files and directories: opening a device may do something.
fn make_mutable(directory: &OwnedFd, name: &CStr) {
    let kind = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .map(|stat| FileType::from_raw_mode(stat.st_mode));
    if matches!(kind, Ok(FileType::RegularFile | FileType::Directory)) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
            clear_flags(&file);
        }
    }
}

/// Where that fails the removal says so.
fn clear_flags(file: &OwnedFd) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(file) {
        let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
        if flags.intersects(fixed) {
            let _ = rustix::fs::ioctl_setflags(file, flags - fixed);
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

    #[test]
    fn deep_directories_take_few_descriptors() {
        let top = std::env::temp_dir().join(format!("firnctl-tree-{}", std::process::id()));
        std::fs::create_dir(&top).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        std::os::unix::fs::symlink("/", top.join("link")).unwrap();
        let mut here = rustix::fs::open(&top, flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, c"d", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, c"d", flags, Mode::empty()).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists() && Path::new("/etc").exists());
    }
}
