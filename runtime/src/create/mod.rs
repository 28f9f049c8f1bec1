//! What the runtime's side does to make a container, beside init.

pub mod clone;
pub mod hooks;
pub mod idmap;
pub mod idmap_mounts;
pub mod memfd;
pub mod preflight;
pub mod scheduler;
pub mod seal;
pub mod serve;
pub mod teardown;
pub mod transaction;
