//! The bundle: from a plan to its place on disk.

mod config;
mod files;
mod firn_json;
pub(crate) mod identity;
pub(crate) mod image_config;
pub(crate) mod init;
mod mounts;
pub(crate) mod plan;
pub(crate) mod private_users;
pub(crate) mod publish;
