//! A container's directory under the runtime's root: who holds its lock may
//! change it; its record is what every later command knows of the container.

pub mod dir;
pub mod process;
pub mod record;
pub mod start;
pub mod status;
pub mod time;
pub mod trust;

pub use dir::{StateDir, StateRoot};
pub use record::Record;
pub use status::Status;
