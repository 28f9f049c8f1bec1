//! Layers of a root file system.

pub(crate) mod whiteout;
