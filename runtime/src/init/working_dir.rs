//! The working directory, opened inside the root: /proc/self/fd/N as a working
//! directory would lead to the host (CVE-2024-21626).

use super::Task;
use crate::error::{Context, Result};
use crate::path::in_root::Missing;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Makes a directory that is missing, as engines expect, while the root can
/// still be written.
pub fn make(task: &Task<'_>) -> Result<()> {
    let (root, cwd) = (task.root()?, &task.process.cwd);
    if !cwd.is_root() && root.open(cwd, OFlags::PATH).is_err_and(|errno| errno == Errno::NOENT) {
        root.open_or_make(cwd, Missing::Directory, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

pub fn enter(task: &Task<'_>) -> Result<()> {
    let (root, cwd) = (task.root()?, &task.process.cwd);
    if cwd.is_root() {
        // Where the root was entered.
        return rustix::process::fchdir(root).doing(|| "change to /");
    }
    let what = || format!("chdir to cwd ({cwd:?}) set in config.json failed", cwd = cwd.to_string());
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = root.open(cwd, flags).doing(what)?;
    rustix::process::fchdir(&dir).doing(what)
}
