//! Layers of a root file system: as archives, and as directories for overlayfs.

pub(crate) mod apply;
mod attributes;
pub(crate) mod compress;
pub(crate) mod contents;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod generated;
pub(crate) mod metadata;
#[cfg(test)]
mod mutations;
pub(crate) mod pack;
pub(crate) mod plan;
mod tar_write;
pub(crate) mod whiteout;
mod write;
