//! The working directory, opened inside the root: /proc/self/fd/N as a working
//! directory would lead to the host (CVE-2024-21626).

use super::context::Task;
use crate::error::{Context, Result};
use crate::path::in_root::IfMissing;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Makes a directory that is missing, as engines expect, while the root can
/// still be written.
pub fn create(task: &Task<'_>) -> Result<()> {
    let (root, cwd) = (task.root()?, &task.process.cwd);
    if !cwd.is_root() && root.open(cwd, OFlags::PATH).is_err_and(|errno| errno == Errno::NOENT) {
        root.open_or_create(cwd, IfMissing::Directory, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

/// As root of the container, for its user may lack the right to a directory above.
/// Root may lack it too: to what belongs to an id that is not mapped in the user
/// namespace, or lies on NFS or FUSE. Then the user tries.
pub fn enter_as_root(task: &mut Task<'_>) -> Result<()> {
    match chdir_in_root(task) {
        Err(error) if matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM)) => task.enters_cwd_as_user = true,
        result => result?,
    }
    Ok(())
}

pub fn enter_as_user(task: &Task<'_>) -> Result<()> {
    if task.enters_cwd_as_user { chdir_in_root(task) } else { Ok(()) }
}

/// Opened inside the root, so that getcwd(2) can't be "(unreachable)".
fn chdir_in_root(task: &Task<'_>) -> Result<()> {
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
