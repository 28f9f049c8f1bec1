//! The container's output: read, logged, and passed on to the monitor's own output.

pub(crate) mod log;
mod sink;
pub(crate) mod stdio;
