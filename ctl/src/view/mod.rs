//! What people see: states, progress.

pub mod analyze;
pub mod answer;
pub mod events;
pub mod output;
pub mod progress;
pub mod state;
