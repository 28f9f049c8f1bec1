//! What people see: states, progress.

pub mod output;
pub mod progress;
pub mod state;
