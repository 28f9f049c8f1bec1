//! OCI images as bytes and as a graph: digests, references, manifests (image-spec 1.1).

pub(crate) mod blob;
pub(crate) mod file_range;
pub(crate) mod graph;
pub(crate) mod hash_write;
pub(crate) mod index;
pub(crate) mod platform;
pub(crate) mod reference;
pub(crate) mod target;
