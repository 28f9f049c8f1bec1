//! Layers of a root file system: as archives, and as directories for overlayfs.

mod attributes;
pub(crate) mod compress;
pub(crate) mod pack;
pub(crate) mod plan;
mod tar_write;
pub(crate) mod whiteout;
