//! What containers have printed: the monitors' log files.

pub mod follow;
pub mod read;
