//! Labels of AppArmor and SELinux, which take effect with execve.

use super::context::Task;
use crate::error::Result;

pub fn set_exec_label(task: &mut Task<'_>) -> Result<()> {
    let process = task.process;
    if let Some(profile) = &process.apparmor {
        // The module's own file first (Linux 5.8), the shared one before that.
        let value = format!("exec {profile}");
        let proc = task.proc()?;
        if proc.write("self/attr/apparmor/exec", &value).is_err() {
            proc.write("self/attr/exec", &value)?;
        }
    }
    if let Some(label) = &process.selinux {
        task.proc()?.write("self/attr/exec", label)?;
    }
    Ok(())
}
