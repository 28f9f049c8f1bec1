//! firn's OCI runtime. Read from the top down, which is the order in which a container
//! comes to be; a module imports what stands below it and nothing above.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: one file for each verb, arguments in, answer printed |
//! | [`lifecycle`] | the verbs as functions: the order of events |
//! | `criu`, `join` | another program's part; another process in a container that runs |
//! | `init` | inside: the list of steps from clone to execve |
//! | `create` | what the runtime's side does beside init: clone, id maps, hooks, what is undone |
//! | `mount` | mounts as descriptors |
//! | `ipc` | what processes say to each other: protocol, streams, terminals, sockets, children |
//! | [`state`] | the container's directory: lock, record, status, start FIFO |
//! | `cgroup`, `resctrl`, `network` | limits, devices, freezing, killing; caches; devices that move in |
//! | `plan` | spec + host + request → what will be done; every mistake is found here |
//! | `seccomp` | profile → BPF program |
//! | [`spec`] | config.json and firn.json, as they are written |
//! | `host` | what is asked of the host, once |
//! | [`log`], [`error`], `compat` | what people and engines are told |
//! | [`path`] | descriptors instead of paths inside the container |
//! | `sys` | the only unsafe code |

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
mod time;

/// What the conformance suite and the bench look into.
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
