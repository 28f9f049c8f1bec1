//! What people see: states, progress.

pub mod progress;
pub mod state;
