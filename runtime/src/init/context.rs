//! What the steps work on: `Init` those of init, `ProcessState` those of any process of a container.

use crate::cgroup::CgroupHandle;
use crate::error::{Error, Result};
use crate::ipc::protocol::{Channel, Message};
use crate::mount::ProcFd;
use crate::mount::sources::Sources;
use crate::path::{InRoot, RootFd};
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use crate::seccomp::Filter;
use crate::state::Record;
use crate::sys::caps::SYS_ADMIN;
use crate::sys::exec::CVec;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::ffi::CString;

/// The state of a process on its way to execve, whether it is init or joins by exec.
#[derive(Debug)]
pub struct ProcessState<'a> {
    /// What the process is to be.
    pub plan: &'a ProcessPlan,
    /// The seccomp filter to load.
    pub filter: Option<&'a Filter>,
    /// An intermediate process: it forks the program's process in the pid namespace last.
    pub is_intermediate: bool,
    /// The filter is loaded by the forked process, which needs no_new_privs for it.
    pub loads_filter_late: bool,
    /// A connected socket, to which the pty master is sent.
    pub console_socket: Option<OwnedFd>,
    /// The container's root directory.
    pub root: Option<RootFd>,
    /// A private procfs, mounted by the first step that needs it.
    pub proc: Option<ProcFd>,
    /// The working directory is entered after the change of user: root got EACCES.
    pub enters_cwd_as_user: bool,
    /// The path for execve(2).
    pub program: Option<CString>,
    /// The environment, until it moves to `vectors`.
    pub env: Vec<CString>,
    /// argv and envp, allocated before the seccomp filter is loaded.
    pub vectors: Option<(CVec, CVec)>,
    /// After Go: an error is sent as `Error::to_bytes`, no message.
    pub go_received: bool,
}

/// The state of init.
#[derive(Debug)]
pub struct Init<'a> {
    pub state: ProcessState<'a>,
    pub plan: &'a Plan,
    pub record: &'a Record,
    pub sources: Sources,
    pub cgroup_handle: CgroupHandle,
    pub channel: Channel,
    /// The mounted procfs and sysfs by target. Paths below are opened by these: an image in
    /// a shared directory can be changed meanwhile, so that /proc names another file.
    pub kernel_mounts: Vec<(InRoot, RootFd)>,
    /// New file systems that were mounted, until devices are created; those that become
    /// read-only at the end, until then.
    pub created_mounts: Vec<CreatedMount>,
    /// Mount IDs of further ones, whose descriptors are closed.
    pub created_mount_ids: Vec<u64>,
    /// /proc/self/timens_offsets, for the time namespace.
    pub time_offsets: Option<OwnedFd>,
    /// /dev, until its links are created; None where the config binds the host's.
    pub dev: Option<OwnedFd>,
    /// `create`: the FIFO to which `start` writes.
    pub start_fifo: Option<OwnedFd>,
}

/// A file system that was newly created for the container.
#[derive(Debug)]
pub struct CreatedMount {
    pub target: InRoot,
    pub tree: OwnedFd,
    pub read_only_last: bool,
}

impl Init<'_> {
    /// Opens `path` in the root, or in the procfs or sysfs that is mounted above it.
    pub fn open_in_container(&self, path: &InRoot, flags: OFlags) -> Result<rustix::io::Result<OwnedFd>> {
        for (at, mount) in self.kernel_mounts.iter().rev() {
            if let Some(below) = path.strip_prefix(at) {
                return Ok(mount.open(&below, flags));
            }
        }
        Ok(self.state.root()?.open(path, flags))
    }

    /// Sends an error: before Go to the runtime as a message; afterwards as bytes, to `start`
    /// by the FIFO, or to `run` by the channel.
    pub fn report_error(&mut self, error: &Error) {
        match (self.state.go_received, &self.start_fifo) {
            (false, _) => drop(self.channel.send(&Message::Failed(error.chain()))),
            (true, Some(fifo)) => drop(crate::path::write_all(fifo, &error.to_bytes())),
            (true, None) => drop(crate::path::write_all(&self.channel, &error.to_bytes())),
        }
    }
}

impl<'a> ProcessState<'a> {
    /// For a process that execs the program itself.
    pub fn new(plan: &'a ProcessPlan, filter: Option<&'a Filter>, console_socket: Option<OwnedFd>) -> Self {
        ProcessState {
            plan,
            filter,
            is_intermediate: false,
            loads_filter_late: false,
            console_socket,
            root: None,
            proc: None,
            enters_cwd_as_user: false,
            program: None,
            env: plan.env.clone(),
            vectors: None,
            go_received: false,
        }
    }

    /// Whether no_new_privs is set when the filter is loaded. Loading without it takes
    /// CAP_SYS_ADMIN, which a process that is seen in a joined pid namespace must not have.
    pub fn has_no_new_privs(&self) -> bool {
        self.plan.no_new_privs || (self.loads_filter_late && self.plan.caps.permitted & SYS_ADMIN == 0)
    }

    /// The container's root. Error: before step "root file system".
    pub fn root(&self) -> Result<&RootFd> {
        self.root.as_ref().ok_or_else(|| Error::new("the container's root is not mounted yet"))
    }

    /// The private procfs of this process's pid namespace.
    pub fn proc(&mut self) -> Result<&ProcFd> {
        if self.proc.is_none() {
            self.proc = Some(ProcFd::new()?);
        }
        self.proc.as_ref().ok_or_else(|| Error::new("there is no private procfs"))
    }
}
