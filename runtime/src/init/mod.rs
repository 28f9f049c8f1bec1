//! The container's init, from clone3(2) to execve(2). The order of `STEPS` is the order of
//! events. No path inside the container is used, only descriptors.

#![deny(clippy::disallowed_methods)]

pub mod caps;
pub mod cgroup;
pub mod cgroup_mount;
pub mod console;
pub mod context;
pub mod copy_up;
pub mod dev_links;
pub mod devices;
pub mod exec;
pub mod fds;
pub mod finish_rootfs;
pub mod hooks;
pub mod ids;
pub mod kernel_mounts;
pub mod keyring;
pub mod limits;
pub mod loopback;
pub mod lsm;
pub mod mounts;
pub mod names;
pub mod namespaces;
pub mod pid_namespace;
pub mod pivot;
pub mod rootfs;
pub mod sched;
pub mod seccomp;
pub mod sysctl;
pub mod user;
pub mod wait_start;
pub mod working_dir;

use crate::cgroup::CgroupHandle;
use crate::error::Result;
use crate::ipc::protocol::Channel;
use crate::mount::sources::Sources;
use crate::plan::Plan;
use crate::state::Record;
use crate::sys;
use context::{Init, ProcessState};
use rustix::fd::OwnedFd;
use rustix::fs::Mode;

/// One step: a function on the state of init.
pub type Step = fn(&mut Init<'_>) -> Result<()>;

/// The order of events, and what each position prevents:
/// - Where a pid namespace is joined, everything up to "process" runs outside of it: a
///   container there could ptrace a process that holds descriptors or capabilities of the
///   host (`pid_namespace.rs`).
/// - Ids are mapped before a file is created, which would belong to the overflow ids, and
///   before PR_SET_DUMPABLE=0, which makes /proc/PID/uid_map root-owned (proc(5)): an
///   unprivileged caller could not write it. timens_offsets is opened before both, for the same
///   reason.
/// - Sources that an unprivileged caller may not open come next, while the host's paths resolve.
/// - The cgroup is entered before its namespace is created, which begins there.
/// - Mounts, devices and links are made before the root is entered: bind sources, and
///   programs of createContainer hooks, are paths of the host.
/// - Paths are masked and the root made read-only once nothing more is written there.
/// - Labels precede no_new_privs, under which a change of the label may be refused.
/// - The seccomp filter is loaded when few system calls of init are left, which it must
///   allow; CAP_SYS_ADMIN for it is dropped right after.
/// - "ready" comes when all errors of the config have been found. What then waits for
///   `start` has nothing that a container could take over.
pub const STEPS: &[(&str, Step)] = &[
    ("pid namespace", pid_namespace::prepare),
    ("time offsets", namespaces::open_time_offsets),
    ("ids", ids::become_root),
    ("session keyring", keyring::join_for_init),
    ("descriptors", |init| fds::preserve_and_hide(&init.state)),
    ("session", |_| console::start_session()),
    ("cgroup", cgroup::enter),
    ("namespaces", namespaces::join_and_unshare),
    ("loopback", loopback::bring_up),
    ("sources", |init| init.sources.open_in_init(init.plan, &init.record.cgroup)),
    ("root file system", rootfs::mount_rootfs),
    ("mounts", mounts::mount_all),
    ("devices", devices::create_devices),
    ("device links", dev_links::create_links),
    ("make the working directory", |init| working_dir::create(&init.state)),
    ("console", console::open_init_console),
    ("hooks", hooks::run_create_hooks),
    ("names", names::set_names),
    ("sysctls", sysctl::write_sysctls),
    ("enter the root", pivot::enter_root),
    ("read-only paths", finish_rootfs::make_paths_read_only),
    ("masked paths", finish_rootfs::mask_paths),
    ("read-only root", finish_rootfs::make_root_read_only),
    ("security labels", |init| lsm::set_exec_label(&mut init.state)),
    ("scheduling", sched::set_for_init),
    ("limits", limits::set_for_init),
    ("standard streams", |init| console::set_up_streams(&init.state)),
    ("capability bounds", |init| caps::drop_bounding(&init.state)),
    ("no new privileges", |init| user::set_no_new_privs(&init.state)),
    ("working directory", |init| working_dir::enter_as_root(&mut init.state)),
    ("join the pid namespace", pid_namespace::join),
    ("user", |init| user::become_user(&mut init.state)),
    ("working directory as the user", |init| working_dir::enter_as_user(&init.state)),
    ("program", |init| exec::find_program(&mut init.state)),
    ("prepare execve", wait_start::prepare_init_exec),
    ("seccomp", |init| seccomp::load_early(&init.state, &init.channel)),
    ("capabilities", |init| caps::drop_filter_capability(&init.state)),
    ("process", pid_namespace::fork_program),
    ("session and limits of the process", pid_namespace::complete_program),
    ("seccomp in the pid namespace", |init| seccomp::load_late(&init.state, &init.channel)),
    ("ready", wait_start::report_ready),
    ("wait for start", wait_start::wait_for_start),
    ("start hooks", hooks::run_start_hooks),
];

/// The descriptors that init starts with.
#[derive(Debug)]
pub struct InitHandles {
    pub sources: Sources,
    pub cgroup_handle: CgroupHandle,
    /// To the runtime's side.
    pub channel: Channel,
    /// To which `start` writes; None for `run`.
    pub start_fifo: Option<OwnedFd>,
}

/// Runs the steps and executes the program. An error is sent to the runtime.
pub fn run(plan: &Plan, record: &Record, handles: InitHandles) -> ! {
    if plan.starts_at_once {
        // The foreground has blocked all signals for its signalfd(2), and the mask survives
        // clone and execve.
        let _ = sys::signal::unblock_all();
    }
    // Files get exactly the modes that are given, until process.user.umask is set.
    rustix::process::umask(Mode::empty());
    let InitHandles { mut sources, cgroup_handle, channel, start_fifo } = handles;
    let state = ProcessState {
        is_intermediate: plan.namespaces.joins_pid(),
        loads_filter_late: plan.loads_filter_late(),
        ..ProcessState::new(&plan.process, plan.seccomp.as_ref(), sources.console_socket.take())
    };
    let mut init = Init {
        state,
        plan,
        record,
        sources,
        cgroup_handle,
        channel,
        kernel_mounts: Vec::new(),
        created_mounts: Vec::new(),
        created_mount_ids: Vec::new(),
        time_offsets: None,
        dev: None,
        start_fifo,
    };
    let steps = STEPS.iter().try_for_each(|(_, step)| step(&mut init));
    let error = steps.err().unwrap_or_else(|| exec::exec_program(&mut init.state));
    init.report_error(&error);
    sys::exec::exit(1)
}

#[cfg(test)]
mod tests {
    use super::STEPS;

    fn at(name: &str) -> usize {
        STEPS.iter().position(|(step, _)| *step == name).unwrap_or_else(|| panic!("no step {name}"))
    }

    #[test]
    fn the_order_that_security_needs() {
        for (earlier, later) in [
            ("ids", "descriptors"),
            ("ids", "sources"),
            // The keyring belongs to the container's root, of its user namespace.
            ("ids", "session keyring"),
            ("session keyring", "hooks"),
            ("sources", "root file system"),
            ("cgroup", "namespaces"),
            ("mounts", "masked paths"),
            ("mounts", "devices"),
            ("devices", "enter the root"),
            ("hooks", "enter the root"),
            ("enter the root", "masked paths"),
            ("read-only paths", "read-only root"),
            ("security labels", "no new privileges"),
            ("capability bounds", "user"),
            ("working directory", "ready"),
            ("user", "program"),
            ("user", "working directory as the user"),
            ("program", "ready"),
            // What waits for `start` has the container's rights and no others.
            ("prepare execve", "seccomp"),
            ("seccomp", "capabilities"),
            ("capabilities", "ready"),
            // In a joined pid namespace no process with rights of the host's is seen.
            ("pid namespace", "ids"),
            ("hooks", "join the pid namespace"),
            ("masked paths", "process"),
            ("capabilities", "process"),
            ("prepare execve", "process"),
            ("process", "seccomp in the pid namespace"),
            ("seccomp in the pid namespace", "ready"),
            ("ready", "wait for start"),
            ("wait for start", "start hooks"),
        ] {
            assert!(at(earlier) < at(later), "{earlier} before {later}");
        }
        assert_eq!(at("start hooks"), STEPS.len() - 1);
    }
}
