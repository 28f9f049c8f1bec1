//! The working directory, opened inside the root without magic links: as process.cwd,
//! /proc/self/fd/N of a leaked descriptor would be a directory of the host
//! (CVE-2024-21626).

use super::context::ProcessState;
use crate::error::{Context, Result};
use crate::path::in_root::IfMissing;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Creates a missing directory, as runc does and engines expect, while the root is writable.
pub fn create(state: &ProcessState<'_>) -> Result<()> {
    let (root, cwd) = (state.root()?, &state.plan.cwd);
    if !cwd.is_root() && root.open(cwd, OFlags::PATH).is_err_and(|errno| errno == Errno::NOENT) {
        root.open_or_create(cwd, IfMissing::Directory, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

/// Enters it before the change of user: the user may lack permission for a parent directory.
/// Root may lack it as well (EACCES: an unmapped owner in a user namespace, NFS with
/// root_squash, FUSE); then it is entered after the change.
pub fn enter_as_root(state: &mut ProcessState<'_>) -> Result<()> {
    match chdir_in_root(state) {
        Err(error) if matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM)) => state.enters_cwd_as_user = true,
        result => result?,
    }
    Ok(())
}

/// After the change of user, where root could not.
pub fn enter_as_user(state: &ProcessState<'_>) -> Result<()> {
    if state.enters_cwd_as_user { chdir_in_root(state) } else { Ok(()) }
}

/// fchdir(2) to the directory opened inside the root: getcwd(2) can't be "(unreachable)".
fn chdir_in_root(state: &ProcessState<'_>) -> Result<()> {
    let (root, cwd) = (state.root()?, &state.plan.cwd);
    if cwd.is_root() {
        // The root descriptor itself.
        return rustix::process::fchdir(root).doing(|| "chdir to cwd (\"/\") set in config.json failed");
    }
    let what = || format!("chdir to cwd ({cwd:?}) set in config.json failed", cwd = cwd.to_string());
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = root.open(cwd, flags).doing(what)?;
    rustix::process::fchdir(&dir).doing(what)
}
