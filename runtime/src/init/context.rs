//! What the steps of init work on, and those that a process has which joins later.

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

/// What every process of a container goes through on its way to execve,
/// whether it is init or joins later.
#[derive(Debug)]
pub struct Task<'a> {
    pub process: &'a ProcessPlan,
    pub filter: Option<&'a Filter>,
    /// This process is not the program's, which it makes in a pid namespace at the end.
    pub is_intermediate: bool,
    /// The filter is loaded by the process that is seen inside, which has no right to
    /// do so but no_new_privs.
    pub loads_filter_late: bool,
    pub console_socket: Option<OwnedFd>,
    /// The container's root directory.
    pub root: Option<RootFd>,
    /// Made by the first step that needs it.
    pub proc: Option<ProcFd>,
    /// The working directory is entered by the user, for root may not.
    pub enters_cwd_as_user: bool,
    /// The program, as execve gets it.
    pub program: Option<CString>,
    pub env: Vec<CString>,
    /// Arguments and environment, made while memory can still be had.
    pub vectors: Option<(CVec, CVec)>,
    /// The runtime has said Go: an error is bare text from here on.
    pub go_received: bool,
}

#[derive(Debug)]
pub struct Init<'a> {
    pub task: Task<'a>,
    pub plan: &'a Plan,
    pub record: &'a Record,
    pub sources: Sources,
    pub cgroup_handle: CgroupHandle,
    pub channel: Channel,
    /// The procfs and sysfs that were mounted, and where: what lies below them is
    /// found by these and not by path, for the image can be changed meanwhile.
    pub kernel_mounts: Vec<(InRoot, RootFd)>,
    /// The new file systems that were mounted, until devices are made; those that
    /// become read-only when all is made, until then.
    pub created_mounts: Vec<CreatedMount>,
    /// Numbers of those that have no descriptor any more.
    pub created_mount_ids: Vec<u64>,
    /// Of the time namespace that will be made.
    pub time_offsets: Option<OwnedFd>,
    /// /dev, until it is filled; None where it is the host's.
    pub dev: Option<OwnedFd>,
    /// For `create`: the FIFO by which `start` comes.
    pub start_fifo: Option<OwnedFd>,
}

/// A file system that is neither the image's nor the host's.
#[derive(Debug)]
pub struct CreatedMount {
    pub target: InRoot,
    pub tree: OwnedFd,
    pub read_only_last: bool,
}

impl Init<'_> {
    /// Opens `path` as the container would see it.
    pub fn open_in_container(&self, path: &InRoot, flags: OFlags) -> Result<rustix::io::Result<OwnedFd>> {
        for (at, mount) in self.kernel_mounts.iter().rev() {
            if let Some(below) = path.strip_prefix(at) {
                return Ok(mount.open(&below, flags));
            }
        }
        Ok(self.task.root()?.open(path, flags))
    }

    /// Tells whoever still listens: `create` or `run`, or later `start`.
    pub fn report_error(&mut self, error: &Error) {
        match (self.task.go_received, &self.start_fifo) {
            (false, _) => drop(self.channel.send(&Message::Failed(error.chain()))),
            (true, Some(fifo)) => drop(crate::path::write_all(fifo, &error.to_bytes())),
            (true, None) => drop(crate::path::write_all(&self.channel, &error.to_bytes())),
        }
    }
}

impl<'a> Task<'a> {
    /// Of a process that becomes its program by itself.
    pub fn new(process: &'a ProcessPlan, filter: Option<&'a Filter>, console_socket: Option<OwnedFd>) -> Self {
        Task {
            process,
            filter,
            is_intermediate: false,
            loads_filter_late: false,
            console_socket,
            root: None,
            proc: None,
            enters_cwd_as_user: false,
            program: None,
            env: process.env.clone(),
            vectors: None,
            go_received: false,
        }
    }

    /// Whether it has them by the time that its filter is loaded. Loading one without
    /// takes CAP_SYS_ADMIN, which nobody may have who is seen inside.
    pub fn has_no_new_privs(&self) -> bool {
        self.process.no_new_privs || (self.loads_filter_late && self.process.caps.permitted & SYS_ADMIN == 0)
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
