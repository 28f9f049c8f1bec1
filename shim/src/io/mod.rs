//! The container's output: taken without loss, logged, and passed on to the monitor's own output and to
//! attached clients; and its input, from these.

mod attach;
mod input;
pub(crate) mod log;
mod sink;
pub(crate) mod spool;
pub(crate) mod stdio;
