//! The image: from a plan to its place on disk.

mod config;
mod layers;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod publish;
