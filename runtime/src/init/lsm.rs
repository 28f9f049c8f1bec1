//! AppArmor profile and SELinux label of the program, which take effect at execve(2).

use super::context::ProcessState;
use crate::error::Result;

/// Writes them to /proc/self/attr of a private procfs: the container's /proc could have
/// another file there, and the program would run unconfined (CVE-2019-16884).
pub fn set_exec_label(state: &mut ProcessState<'_>) -> Result<()> {
    let process = state.plan;
    if let Some(profile) = &process.apparmor {
        // AppArmor's own file (Linux 5.8), or the one shared with other modules.
        let value = format!("exec {profile}");
        let proc = state.proc()?;
        if proc.write("self/attr/apparmor/exec", &value).is_err() {
            proc.write("self/attr/exec", &value)?;
        }
    }
    if let Some(label) = &process.selinux {
        state.proc()?.write("self/attr/exec", label)?;
    }
    Ok(())
}
