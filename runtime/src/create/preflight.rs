//! What the plan needs of the host, checked before anything is created.

use crate::bail;
use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use rustix::fs::FileType;
use rustix::io::Errno;

/// Checks that the root is a directory, and that the LSMs whose labels the config has are
/// enabled. Errors: ENOENT, ENOTDIR of the root; the LSM's name.
pub fn check(plan: &Plan) -> Result<()> {
    let what = || format!("root file system {}", plan.rootfs.display());
    let stat = rustix::fs::stat(&plan.rootfs).doing(what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR).doing(what);
    }
    require_selinux(plan.mount_label.as_deref())?;
    check_process(&plan.process)
}

/// Checks the LSM labels of a further process of a container (`exec`).
pub fn check_process(process: &ProcessPlan) -> Result<()> {
    require_lsm(process.apparmor.as_deref(), "AppArmor", "/sys/kernel/security/apparmor")?;
    require_selinux(process.selinux.as_deref())
}

fn require_selinux(label: Option<&str>) -> Result<()> {
    require_lsm(label, "SELinux", "/sys/fs/selinux/enforce")
}

/// Without the LSM the container would run unconfined: an error, as under runc.
fn require_lsm(label: Option<&str>, module: &str, file: &str) -> Result<()> {
    match label {
        Some(label) if !std::fs::exists(file).unwrap_or(false) => {
            bail!("the config asks for {module} {label:?}, but {module} is disabled or not supported on this host")
        }
        _ => Ok(()),
    }
}
