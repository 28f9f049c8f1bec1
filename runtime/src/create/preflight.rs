//! What a plan takes for granted of the host, asked before anything is made.

use crate::bail;
use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use rustix::fs::FileType;
use rustix::io::Errno;

/// That the root is a directory, and that the kernel has the security modules whose
/// labels the config gives.
pub fn check(plan: &Plan) -> Result<()> {
    let what = || format!("root file system {}", plan.rootfs.display());
    let stat = rustix::fs::stat(&plan.rootfs).doing(what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR).doing(what);
    }
    need_selinux(plan.mount_label.as_deref())?;
    check_process(&plan.process)
}

/// The same of another process of a container.
pub fn check_process(process: &ProcessPlan) -> Result<()> {
    need_module(process.apparmor.as_deref(), "AppArmor", "/sys/kernel/security/apparmor")?;
    need_selinux(process.selinux.as_deref())
}

fn need_selinux(label: Option<&str>) -> Result<()> {
    need_module(label, "SELinux", "/sys/fs/selinux/enforce")
}

/// Without the module the container would run unconfined, so that is an error, as under
/// runc.
fn need_module(label: Option<&str>, module: &str, file: &str) -> Result<()> {
    match label {
        Some(label) if !std::fs::exists(file).unwrap_or(false) => {
            bail!("the config asks for {module} {label:?}, but {module} is disabled or not supported on this host")
        }
        _ => Ok(()),
    }
}
