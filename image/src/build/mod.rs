//! The image: from a plan to its place on disk.

pub(crate) mod accounts;
mod config;
mod layers;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod publish;
