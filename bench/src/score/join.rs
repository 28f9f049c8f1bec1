//! A process that joins a container.

use super::{Score, program};
use firn::internals::cgroup::Cgroup;
use firn::internals::host::cgroup_layout::Layout;
use firn::internals::plan::Plan;
use std::path::PathBuf;

/// `exec` of the plan's own program in the container whose init has that pid.
pub fn join(plan: &Plan, layout: &Layout, pid: i32) -> Vec<u8> {
    let mut score = Score::default();
    let cgroup = Cgroup::place(layout, &plan.cgroup).expect("without systemd nothing is asked");
    let init = score.open(libc::SYS_pidfd_open, &[pid.into(), 0.into()]);
    let v1 = cgroup.dirs.iter().filter(|dir| !dir.is_v2());
    let tasks: Vec<PathBuf> = v1.map(|dir| dir.path.join("tasks")).collect();
    let tasks: Vec<_> = tasks.iter().map(|path| score.open_path(path, libc::O_WRONLY)).collect();
    // Only children will be in the pid namespace.
    score.call(libc::SYS_setns, &[init.into(), (plan.namespaces.new & firn::internals::sys::clone::NEWPID).into()]);
    let fork = score.clone(0, cgroup.v2().map(|dir| dir.path.as_path()));
    for file in tasks {
        score.write(file, "0");
    }
    score.call(libc::SYS_setns, &[init.into(), (plan.namespaces.new & !firn::internals::sys::clone::NEWPID).into()]);
    score.call(libc::SYS_setsid, &[]);
    program::become_it(&mut score, &plan.process, plan.seccomp.as_ref());
    let status = score.wait(fork);
    score.end(status);
    score.finish()
}
