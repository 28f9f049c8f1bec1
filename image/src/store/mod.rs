//! Where bundles are built, and what they keep from garbage collection.

pub(crate) mod gcroots;
pub(crate) mod staging;
