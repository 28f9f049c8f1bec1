//! The control socket, `STATE/NAME/control`, by which other programs speak to the monitor.

pub mod client;
pub mod protocol;
pub(crate) mod server;
