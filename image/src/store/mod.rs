//! Unpacked layers, image layouts and registries, where bundles and images are built, and what they keep
//! from garbage collection.

pub(crate) mod archive;
pub(crate) mod arriving;
mod blob_places;
pub(crate) mod bundle_records;
mod cache_dir;
pub(crate) mod closure_cache;
mod compare;
mod counted;
pub(crate) mod gc;
pub(crate) mod gcroots;
pub(crate) mod import;
pub(crate) mod layer_cache;
pub(crate) mod layers;
pub(crate) mod layout;
pub(crate) mod list;
mod lock;
mod mounted;
mod parents;
pub(crate) mod pull;
pub(crate) mod push;
mod reachable;
pub(crate) mod scratch;
pub(crate) mod staging;
mod text;
pub(crate) mod transfer;
mod unpack;
mod unpacker;
pub(crate) mod verify;
