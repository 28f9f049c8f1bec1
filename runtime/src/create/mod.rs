//! The runtime's side of creating a container; init's side is [`crate::init`].

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
