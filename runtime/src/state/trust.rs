//! What is believed of files that an earlier command wrote. A record decides
//! which cgroup is killed and which hooks run with the caller's rights, so it
//! must come from the caller or from root: whoever could create it, or could
//! write to it or to its directory, could run programs as the caller.

use crate::bail;
use crate::error::{Context, Result};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Stat};
use std::path::{Path, PathBuf};

const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The status of an open file or directory, if it belongs to the caller or to
/// root and nobody else may write to it. By descriptor: what is checked is what is
/// used afterwards.
pub fn check(file: impl AsFd, kind: FileType, path: impl Fn() -> PathBuf) -> Result<Stat> {
    let stat = rustix::fs::fstat(&file).doing(|| format!("look at {}", path().display()))?;
    check_stat(&stat, kind, path)?;
    Ok(stat)
}

pub fn check_stat(stat: &Stat, kind: FileType, path: impl Fn() -> PathBuf) -> Result<()> {
    match refusal(stat, kind) {
        None => Ok(()),
        Some(reason) => bail!("{} is not trusted: {reason}", path().display()),
    }
}

fn refusal(stat: &Stat, kind: FileType) -> Option<String> {
    let found = FileType::from_raw_mode(stat.st_mode);
    if found != kind {
        return Some(format!("it is a {found:?} and not a {kind:?}").to_lowercase());
    }
    // Root of a user namespace is who may map users of it, as the caller.
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Some(format!("it belongs to user {}, who is neither root nor the caller", stat.st_uid));
    }
    let mode = stat.st_mode & 0o7777;
    (mode & WRITABLE_BY_OTHERS != 0).then(|| {
        format!("users other than its owner may write to it (mode {mode:04o}): remove it, or chmod go-w if what it holds is right")
    })
}

/// Runs `make` with a file mode creation mask that takes nothing from the owner
/// and everything from others, whatever the caller's is.
pub fn private<T>(make: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let made = make();
    rustix::process::umask(before);
    made
}

/// Makes a directory, and those above it that are missing, for the caller alone.
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
        refusal(&stat, FileType::RegularFile)
    }

    #[test]
    fn only_the_callers_and_roots_own_files_are_believed() {
        let euid = rustix::process::geteuid().as_raw();
        for (mode, uid) in [(0o100600, euid), (0o100644, 0), (0o100400, euid)] {
            assert_eq!(reason(mode, uid), None);
        }
        for (mode, uid) in [(0o100600, 65534), (0o100660, 0), (0o100602, euid), (0o040700, 0), (0o120777, 0)] {
            assert!(reason(mode, uid).is_some(), "{mode:o} {uid}");
        }
    }
}
