//! The directories of an ordinary user (XDG Base Directory Specification, 0.8).

use anyhow::{Context, Result, bail};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// $XDG_STATE_HOME: what stays between restarts of programs.
pub fn state_home() -> Result<PathBuf> {
    if let Some(path) = variable("XDG_STATE_HOME") {
        return Ok(path);
    }
    let home = variable("HOME").context("find your directory of state: neither XDG_STATE_HOME nor HOME is set")?;
    Ok(home.join(".local/state"))
}

/// $XDG_RUNTIME_DIR: what goes with the user's last login, or a reboot. Where it is not set, as in `su` and cron, the
/// place where systemd makes it. Errors: there is none, or it is another user's.
pub fn runtime_dir() -> Result<PathBuf> {
    let uid = nix::unistd::geteuid();
    let usual = || PathBuf::from(format!("/run/user/{uid}"));
    let path = match variable("XDG_RUNTIME_DIR") {
        Some(path) => path,
        None if usual().is_dir() => usual(),
        None => bail!(
            "XDG_RUNTIME_DIR is not set, and there is no {}: log in anew (pam_systemd makes it, as does `loginctl \
             enable-linger`), or set it to a directory of your own, mode 0700, that a reboot empties",
            usual().display()
        ),
    };
    let meta = std::fs::metadata(&path).with_context(|| format!("XDG_RUNTIME_DIR: {}", path.display()))?;
    // "The directory MUST be owned by the user, and he MUST be the only one having read and write access to it."
    if meta.uid() != uid.as_raw() || meta.mode() & 0o077 != 0 {
        bail!("XDG_RUNTIME_DIR: {} must be yours, and of mode 0700", path.display());
    }
    Ok(path)
}

/// A path in the environment; relative ones are invalid, and ignored.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
