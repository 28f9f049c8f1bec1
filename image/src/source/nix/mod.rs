//! Closures of Nix.

mod cli;
pub(crate) mod closure;
pub(crate) mod database;
pub(crate) mod difference;
mod registration;
pub(crate) mod store_path;

pub(crate) use cli::{NixError, add_root};
