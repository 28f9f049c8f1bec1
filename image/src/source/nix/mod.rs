//! Closures of Nix.

mod cli;
pub(crate) mod closure;
mod registration;
pub(crate) mod store_path;

pub(crate) use cli::{NixError, add_root};
