//! `tmpcopyup`: a tmpfs that starts with the content of the directory under it. Nothing is
//! copied from procfs, sysfs and the like: an image's symbolic link may lead the target
//! onto /proc or /sys, whose files have no end, and some act when they are read.

use crate::bail;
use crate::error::{Context, Result};
use crate::path::kernel_fs::kernel_fs_type;
use crate::path::write_all;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use std::ffi::CStr;

/// The depth limit of a copied tree: the recursion of a deeper one could exhaust the stack.
const MAX_DEPTH: u32 = 200;

/// Copies what is in `from` (O_PATH, a directory) into the new, empty file system `to`.
pub fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    copy_directory(from, to, MAX_DEPTH).doing(|| "copy the directory under the tmpfs into it")
}

/// Refuses a source on a file system of the kernel's.
fn refuse_kernel_fs(fd: &OwnedFd) -> Result<()> {
    match kernel_fs_type(fd)? {
        Some(kind) => bail!("it is in {kind}, which is not copied"),
        None => Ok(()),
    }
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    refuse_kernel_fs(from)?;
    if depth == 0 {
        bail!("it is more than {MAX_DEPTH} levels deep");
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let listing = rustix::fs::openat(from, c".", flags, Mode::empty()).doing(|| "open the directory")?;
    for entry in Dir::read_from(&listing).doing(|| "list the directory")? {
        let entry = entry.doing(|| "list the directory")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(&listing, to, name, depth).doing(|| name.to_string_lossy().into_owned())?;
        }
    }
    Ok(())
}

/// Copies an entry with its type, owner and mode.
fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: u32) -> Result<()> {
    let what = || "copy";
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).doing(what)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode).doing(what)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = |dir| rustix::fs::openat(dir, name, flags, Mode::empty()).doing(what);
            copy_directory(&below(from)?, &below(to)?, depth - 1)?;
        }
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(from, name, Vec::new()).doing(what)?;
            rustix::fs::symlinkat(&*text, to, name).doing(what)?;
        }
        FileType::RegularFile => copy_file(from, to, name, mode)?,
        // Device nodes, sockets and FIFOs: a new node.
        kind => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).doing(what)?,
    }
    set_owner_and_mode(to, name, &stat)
}

/// Copies the content of a regular file.
fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr, mode: Mode) -> Result<()> {
    let what = || "copy";
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, read, Mode::empty()).doing(what)?;
    // A file of the kernel's may be mounted there.
    refuse_kernel_fs(&source)?;
    // No more than the present size: a process may append to it without end.
    let mut left = rustix::fs::fstat(&source).doing(what)?.st_size as usize;
    let target = rustix::fs::openat(to, name, write, mode).doing(what)?;
    let mut buffer = vec![0u8; 64 << 10];
    while left > 0 {
        let most = left.min(buffer.len());
        match rustix::io::read(&source, &mut buffer[..most]).doing(what)? {
            0 => break,
            length => {
                write_all(&target, &buffer[..length]).doing(what)?;
                left -= length;
            }
        }
    }
    Ok(())
}

/// Sets the owner, and then the mode again: chown(2) clears setuid and setgid.
fn set_owner_and_mode(to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).doing(|| "chown")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())
            .doing(|| "chmod")?;
    }
    Ok(())
}
