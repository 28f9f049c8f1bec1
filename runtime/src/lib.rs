//! firn's OCI runtime. The modules from top to bottom; a module imports only modules below it.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | command line: one file for each verb |
//! | [`lifecycle`] | the verbs as functions: the order of steps |
//! | `criu`, `join` | checkpoint and restore by CRIU; `exec`: a process in a running container |
//! | `init` | init: the list of steps from clone to execve |
//! | `create` | the runtime's side of creation: clone, id maps, hooks, rollback |
//! | `mount` | mounts as descriptors |
//! | `ipc` | communication between processes: protocol, streams, terminals, sockets, children |
//! | [`state`] | the state directory: lock, record, status, start FIFO |
//! | `cgroup`, `resctrl`, `network` | limits, device rules, freezer, kill; caches; network devices |
//! | `plan` | spec + host + request → plan; every mistake in the config is found here |
//! | `seccomp` | profile → BPF program |
//! | [`spec`] | config.json and firn.json as they are written |
//! | `host` | what is probed of the host, once |
//! | [`log`], [`error`], `compat` | log, errors, texts that callers match |
//! | [`startup`] | signal dispositions at the start of every firn program |
//! | [`path`] | descriptors instead of paths in the container |
//! | `time` | RFC 3339 time stamps |
//! | `sys` | all unsafe code |

#![deny(unsafe_code)]

mod cgroup;
pub mod cli;
mod compat;
mod create;
mod criu;
pub mod error;
mod host;
mod init;
mod ipc;
mod join;
pub mod lifecycle;
pub mod log;
mod mount;
mod network;
pub mod path;
mod plan;
mod resctrl;
mod seccomp;
pub mod spec;
pub mod startup;
pub mod state;
#[allow(unsafe_code)]
mod sys;
pub mod time;

/// Internals for the conformance suite and the bench.
#[cfg(feature = "internals")]
pub mod internals {
    pub mod cgroup {
        pub use crate::cgroup::{Cgroup, Dir, devices};
    }
    pub mod host {
        pub use crate::host::{Host, cgroup_layout};
    }
    pub mod plan {
        pub use crate::plan::{Plan, mounts, plan, process, request};
    }
    pub mod seccomp {
        pub use crate::seccomp::{Filter, compile, interpret};
    }
    pub mod sys {
        pub use crate::sys::{caps, clone, mount, seccomp, seccomp_agent, tty};
    }
}
