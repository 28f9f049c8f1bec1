pub mod config;
pub mod firn_json;
pub mod identity;
pub mod init;
pub mod mounts;
pub mod plan;
pub mod publish;
pub use plan::*;
