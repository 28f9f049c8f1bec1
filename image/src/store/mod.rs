//! Where bundles and images are built, and what they keep from garbage collection.

pub(crate) mod gcroots;
pub(crate) mod layer_cache;
pub(crate) mod layout;
pub(crate) mod staging;
