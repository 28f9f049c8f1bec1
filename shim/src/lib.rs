//! The monitor of one container: it starts the container by an OCI runtime, notifies when it is
//! ready, keeps its output, stops or restarts it by its policy, and records how it ended.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | `container` | the container: event loop, state machine, policy, stop, report |
//! | [`control`] | the control socket: its protocol, with both ends |
//! | `keeper` | the process that holds descriptors of containers, so that they outlive a monitor |
//! | `state` | the state directory: lock, owner, clean-up after a killed monitor, exit record |
//! | `bundle` | the caller's bundle, and the derived one that the runtime is given |
//! | `runtime` | the runtime's commands, their queue, their errors |
//! | `notify` | notifications in from the container and out to the service manager |
//! | `io` | the container's output, into the log and to the monitor's own output and attached clients; its input |
//! | `reactor` | the epoll set, signals, timers |
//! | `process` | processes by pidfd, reaping, pipes, terminals |
//! | `signal`, `stream`, `sys` | what all of them use; `sys` is the only unsafe code |
//!
//! Errors are those of the runtime's library: the operation and its object, and the reason.
//!
//! A module imports from those below it (`cargo xtask structure`).
#![deny(unsafe_code)]

pub mod cli;

mod bundle;
mod container;
pub mod control;
mod io;
mod keeper;
mod notify;
mod process;
mod reactor;
mod runtime;
mod signal;
mod state;
mod stream;
mod sys;
