//! Ownership and mode of files that an earlier command wrote. The record decides which cgroup
//! is killed and which hooks run with the caller's privileges, so it must have been written
//! by the caller or by root: another user who could create it, or write to it or to its
//! directory, could execute programs as the caller.

use crate::bail;
use crate::error::{Context, Result};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Stat};
use std::path::{Path, PathBuf};

const WRITABLE_BY_OTHERS: u32 = 0o022;

/// fstat(2) of an open file or directory, which must be owned by the caller or root and
/// writable by the owner alone. By descriptor, so that the checked file is the one used.
/// Errors: "is not trusted", with the reason.
pub fn check(file: impl AsFd, kind: FileType, path: impl Fn() -> PathBuf) -> Result<Stat> {
    let stat = rustix::fs::fstat(&file).doing(|| format!("stat {}", path().display()))?;
    check_stat(&stat, kind, path)?;
    Ok(stat)
}

/// The same for a status from statx(2) or fstat(2).
pub fn check_stat(stat: &Stat, kind: FileType, path: impl Fn() -> PathBuf) -> Result<()> {
    match untrusted_reason(stat, kind) {
        None => Ok(()),
        Some(reason) => bail!("{} is not trusted: {reason}", path().display()),
    }
}

fn untrusted_reason(stat: &Stat, kind: FileType) -> Option<String> {
    let found = FileType::from_raw_mode(stat.st_mode);
    if found != kind {
        return Some(format!("it is a {found:?} and not a {kind:?}").to_lowercase());
    }
    // Root of a user namespace may map its users, as the caller.
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Some(format!("it is owned by user {}, who is neither root nor the caller", stat.st_uid));
    }
    let mode = stat.st_mode & 0o7777;
    (mode & WRITABLE_BY_OTHERS != 0).then(|| {
        format!("users other than its owner may write to it (mode {mode:04o}): remove it, or chmod go-w if what it holds is right")
    })
}

/// Runs `make` with umask 077, whatever the caller's is.
pub fn private<T>(make: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let made = make();
    rustix::process::umask(before);
    made
}

/// mkdir -p, mode 0700.
pub fn make_directories(path: &Path) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    let make = || rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(0o700));
    match make() {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).ok_or(Errno::NOENT)?;
            make_directories(above)?;
            match make() {
                Err(Errno::EXIST) => Ok(()),
                result => result,
            }
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(mode: u32, uid: u32) -> Option<String> {
        let mut stat = rustix::fs::stat("/").unwrap();
        (stat.st_mode, stat.st_uid) = (mode, uid);
        untrusted_reason(&stat, FileType::RegularFile)
    }

    #[test]
    fn only_files_of_the_caller_and_of_root_are_trusted() {
        let euid = rustix::process::geteuid().as_raw();
        for (mode, uid) in [(0o100600, euid), (0o100644, 0), (0o100400, euid)] {
            assert_eq!(reason(mode, uid), None);
        }
        for (mode, uid) in [(0o100600, 65534), (0o100660, 0), (0o100602, euid), (0o040700, 0), (0o120777, 0)] {
            assert!(reason(mode, uid).is_some(), "{mode:o} {uid}");
        }
    }
}
