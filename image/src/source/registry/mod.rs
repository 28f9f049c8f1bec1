//! Images in registries (distribution-spec).
//!
//! ```text
//! name ─ registries_conf: which places have it ─ credentials: for each ─ client: manifests and blobs
//!                                                                        ─ upload: what is sent
//! ```

pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod registries_conf;
mod token;
pub(crate) mod upload;
