//! Definition → what firn's programs are told: the arguments of `firn-image` and `firn-shim`, and what
//! is changed in the config.json that `firn-image` makes.

pub mod config;
pub mod devices;
pub mod monitor;
pub mod mounts;
pub mod network;
pub mod resources;
pub mod root;
pub mod unit;
pub mod users;
