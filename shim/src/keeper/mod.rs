//! The keeper: a process that only holds descriptors, so that they outlive the monitors of which they
//! are, and remembers how a process ended whose pidfd it holds, where the kernel does not. There is one for each directory of state directories (`--state-dir`). The first monitor
//! starts it, and it ends when there is nothing to hold.

pub(crate) mod client;
mod exits;
mod protocol;
pub(crate) mod server;
