//! Unpacked layers, image layouts and registries, where bundles and images are built, and what they keep
//! from garbage collection.

pub(crate) mod archive;
mod blob_places;
mod cache_dir;
pub(crate) mod closure_cache;
pub(crate) mod gcroots;
pub(crate) mod import;
pub(crate) mod layer_cache;
pub(crate) mod layers;
pub(crate) mod layout;
mod parents;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod scratch;
pub(crate) mod staging;
pub(crate) mod transfer;
