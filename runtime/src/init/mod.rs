//! What runs inside, between the clone and the container's own program. The
//! order of `STEPS` is the order of events; each name stands in the error of
//! its step. Nothing here uses a path inside the container: only descriptors.

#![deny(clippy::disallowed_methods)]

pub mod aside;
pub mod caps;
pub mod cgroup;
pub mod cgroup_mount;
pub mod console;
pub mod copy_up;
pub mod dev_links;
pub mod devices;
pub mod exec;
pub mod fds;
pub mod file_system;
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
pub mod overlay;
pub mod pid_namespace;
pub mod pivot;
pub mod procfs_helper;
pub mod rootfs;
pub mod sched;
pub mod seccomp;
pub mod store_view;
pub mod sysctl;
pub mod user;
pub mod wait_start;
pub mod working_dir;

use crate::cgroup::{Cgroup, Entry};
use crate::create::Options;
use crate::create::protocol::{Channel, Message};
use crate::create::sources::Sources;
use crate::error::{Context, Error, Result};
use crate::path::{InRoot, ProcFd, RootFd};
use crate::plan::Plan;
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::process::ProcessPlan;
use crate::seccomp::Filter;
use crate::state::Record;
use crate::sys;
use crate::sys::exec::CVec;
use rustix::fd::{OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;

/// What every process of a container goes through on its way to execve,
/// whether it is init or joins later.
#[derive(Debug)]
pub struct Task<'a> {
    pub process: &'a ProcessPlan,
    pub filter: Option<&'a Filter>,
    /// This process is not the program's, which it makes in a pid namespace at the end.
    pub is_outside: bool,
    /// The filter is loaded by the process that is seen inside, which has no right to
    /// do so but no_new_privs.
    pub loads_late: bool,
    /// Of the caller, which the program gets beside its standard streams.
    pub preserved: &'a [RawFd],
    pub console_socket: Option<OwnedFd>,
    /// The container's root directory.
    pub root: Option<RootFd>,
    /// Made by the first step that needs it.
    pub proc: Option<ProcFd>,
    /// The working directory is entered by the user, for root may not.
    pub enters_as_user: bool,
    /// The program, as execve gets it.
    pub program: Option<CString>,
    pub env: Vec<CString>,
    /// Arguments and environment, made while memory can still be had.
    pub vectors: Option<(CVec, CVec)>,
    /// The runtime has said Go: an error is bare text from here on.
    pub has_gone_on: bool,
}

#[derive(Debug)]
pub struct Init<'a> {
    pub task: Task<'a>,
    pub plan: &'a Plan,
    pub sources: Sources,
    pub cgroup: &'a Cgroup,
    pub entry: Entry,
    pub channel: Channel,
    /// The procfs and sysfs that were mounted, and where: what lies below them is
    /// found by these and not by path, for the image can be changed meanwhile.
    pub kernel_mounts: Vec<(InRoot, RootFd)>,
    /// The new file systems that were mounted, until devices are made; those that
    /// become read-only when all is made, until then.
    pub own_mounts: Vec<OwnMount>,
    /// Numbers of those that have no descriptor any more.
    pub own_ids: Vec<u64>,
    /// Of the time namespace that will be made.
    pub time_offsets: Option<OwnedFd>,
    /// /dev, until it is filled; None where it is the host's.
    pub dev: Option<OwnedFd>,
    /// For `create`: the FIFO by which `start` comes.
    pub start: Option<OwnedFd>,
    pub record: &'a Record,
    pub options: &'a Options,
}

/// A file system that is neither the image's nor the host's.
#[derive(Debug)]
pub struct OwnMount {
    pub target: InRoot,
    pub tree: OwnedFd,
    pub read_only_last: bool,
}

pub type Step = fn(&mut Init<'_>) -> Result<()>;

/// The order of events inside. Why it is as it is:
/// - where a pid namespace is joined, all of it runs outside until "process": nobody
///   inside may see who has anything of the host's (`pid_namespace.rs`);
/// - ids are mapped before anything is made, or it would belong to nobody, and
///   before we hide, or an ordinary caller could not write the maps; the file of
///   time offsets is opened before both, which take the right to open it;
/// - what an ordinary caller could not open comes next, while paths are its own;
/// - the cgroup is entered before its namespace is made, which starts there;
/// - mounts, devices and links are made before the root is entered, so that
///   hooks of the host still see the host's paths;
/// - the root becomes read-only and is masked when nothing more is written;
/// - labels before no_new_privs, which would refuse them;
/// - the seccomp filter comes when few of our own calls are left that have to pass
///   it, and the capabilities that loading it takes go right after;
/// - `ready` is said when all errors of the config have shown, and whoever waits
///   for `start` then is nobody whom a container could use.
pub const STEPS: &[(&str, Step)] = &[
    ("pid namespace", pid_namespace::prepare),
    ("time offsets", namespaces::open_time_offsets),
    ("ids", ids::become_root),
    ("session keyring", keyring::make),
    ("descriptors", |init| fds::hide(&init.task)),
    ("session", |_| console::new_session()),
    ("cgroup", cgroup::enter),
    ("namespaces", namespaces::join_and_make),
    ("loopback", loopback::bring_up),
    ("sources", |init| init.sources.open_late(init.plan, init.cgroup)),
    ("root file system", rootfs::mount),
    ("mounts", mounts::mount_all),
    ("devices", devices::make_all),
    ("device links", dev_links::make_all),
    ("make the working directory", |init| working_dir::make(&init.task)),
    ("console", console::open_for_init),
    ("hooks", hooks::run_create),
    ("names", names::set),
    ("sysctls", sysctl::write_all),
    ("enter the root", pivot::enter),
    ("read-only paths", finish_rootfs::read_only_paths),
    ("masked paths", finish_rootfs::masked_paths),
    ("read-only root", finish_rootfs::read_only_root),
    ("security labels", |init| lsm::label(&mut init.task)),
    ("scheduling", sched::set_all),
    ("limits", limits::set_first),
    ("standard streams", |init| console::give_streams(&init.task)),
    ("capability bounds", |init| caps::bound(&init.task)),
    ("no new privileges", |init| user::no_new_privs(&init.task)),
    ("working directory", |init| working_dir::enter(&mut init.task)),
    ("join the pid namespace", pid_namespace::join),
    ("user", |init| user::become_user(&mut init.task)),
    ("working directory as the user", |init| working_dir::enter_as_user(&init.task)),
    ("program", |init| exec::find(&mut init.task)),
    ("last descriptors", wait_start::let_go),
    ("seccomp", |init| seccomp::load_early(&init.task, &init.channel)),
    ("capabilities", |init| caps::keep(&init.task)),
    ("process", pid_namespace::enter),
    ("session and limits of the process", pid_namespace::complete),
    ("seccomp in the pid namespace", |init| seccomp::load_late(&init.task, &init.channel)),
    ("ready", wait_start::ready),
    ("wait for start", wait_start::wait),
    ("start hooks", hooks::run_start),
];

/// Runs the steps and then the program; never returns.
#[allow(clippy::too_many_arguments)]
pub fn run(
    plan: &Plan,
    mut sources: Sources,
    (cgroup, entry): (&Cgroup, Entry),
    channel: Channel,
    start: Option<OwnedFd>,
    record: &Record,
    options: &Options,
) -> ! {
    if options.run {
        // The foreground waits for signals with all of them blocked; not so init.
        let _ = sys::signal::unblock_all();
    }
    // What is made gets the modes that are asked for, until the user's mask is set.
    rustix::process::umask(Mode::empty());
    let task = Task {
        process: &plan.process,
        filter: plan.seccomp.as_ref(),
        is_outside: plan.namespaces.joins_pid(),
        loads_late: pid_namespace::loads_late(plan),
        preserved: &options.preserved,
        console_socket: sources.console_socket.take(),
        root: None,
        proc: None,
        enters_as_user: false,
        program: None,
        env: plan.process.env.clone(),
        vectors: None,
        has_gone_on: false,
    };
    let mut init = Init {
        task,
        plan,
        sources,
        cgroup,
        entry,
        channel,
        kernel_mounts: Vec::new(),
        own_mounts: Vec::new(),
        own_ids: Vec::new(),
        time_offsets: None,
        dev: None,
        start,
        record,
        options,
    };
    let error = steps(&mut init).err().unwrap_or_else(|| exec::exec(&mut init.task));
    init.fail(&error);
    sys::exec::exit(1)
}

fn steps(init: &mut Init<'_>) -> Result<()> {
    for (name, step) in STEPS {
        step(init).doing(|| format!("init: {name}"))?;
    }
    Ok(())
}

impl Init<'_> {
    /// Opens `path` as the container would see it.
    pub fn open(&self, path: &InRoot, flags: OFlags) -> Result<rustix::io::Result<OwnedFd>> {
        for (at, mount) in self.kernel_mounts.iter().rev() {
            if let Some(below) = path.below(at) {
                return Ok(mount.open(&below, flags));
            }
        }
        Ok(self.task.root()?.open(path, flags))
    }

    /// Tells whoever still listens: `create` or `run`, or later `start`.
    fn fail(&mut self, error: &Error) {
        let text = error.chain();
        match (self.task.has_gone_on, &self.start) {
            (false, _) => drop(self.channel.send(&Message::Failed(text))),
            (true, Some(fifo)) => drop(crate::path::write_all(fifo, text.as_bytes())),
            (true, None) => drop(crate::path::write_all(&self.channel, text.as_bytes())),
        }
    }
}

impl<'a> Task<'a> {
    /// Whether it has them by the time that its filter is loaded. Loading one without
    /// takes CAP_SYS_ADMIN, which nobody may have who is seen inside.
    pub fn has_no_new_privs(&self) -> bool {
        self.process.no_new_privs || (self.loads_late && self.process.caps.permitted & SYS_ADMIN == 0)
    }

    /// The container's root, once there is one.
    pub fn root(&self) -> Result<&RootFd> {
        self.root.as_ref().ok_or_else(|| Error::new("the container has no root yet"))
    }

    /// A private procfs of the container's pid namespace.
    pub fn proc(&mut self) -> Result<&ProcFd> {
        if self.proc.is_none() {
            self.proc = Some(ProcFd::new()?);
        }
        self.proc.as_ref().ok_or_else(|| Error::new("there is no private procfs"))
    }
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
            // It belongs to the container's root, and is found in its user namespace.
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
            // What waits has the container's rights and no others.
            ("last descriptors", "seccomp"),
            ("seccomp", "capabilities"),
            ("capabilities", "ready"),
            // Nobody in a pid namespace that is joined sees any of the host's.
            ("pid namespace", "ids"),
            ("hooks", "join the pid namespace"),
            ("masked paths", "process"),
            ("capabilities", "process"),
            ("last descriptors", "process"),
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
