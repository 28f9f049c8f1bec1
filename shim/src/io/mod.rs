//! The container's output: read, logged, and passed on to the monitor's own output and to attached
//! clients; and its input, from these.

mod attach;
mod input;
pub(crate) mod log;
mod sink;
pub(crate) mod stdio;
