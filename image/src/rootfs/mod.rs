//! The root file system that layers and a closure make together.

pub(crate) mod copy;
pub(crate) mod erofs;
pub(crate) mod overlay;
pub(crate) mod users;
pub(crate) mod view;
