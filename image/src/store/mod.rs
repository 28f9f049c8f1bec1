//! Unpacked layers, where bundles and images are built, and what they keep from garbage collection.

mod cache_dir;
pub(crate) mod closure_cache;
pub(crate) mod gcroots;
pub(crate) mod layer_cache;
pub(crate) mod layers;
pub(crate) mod layout;
mod parents;
pub(crate) mod pull;
pub(crate) mod staging;
