//! Builds bundles for firn. Read in the order of the flow:
//!
//! ```text
//! argv ─ cli::bundle ─ source: nix (a closure), directory   (layers)
//!                    ─ rootfs: view → users                 (what both show together)
//!                    ─ bundle: identity, init               (name, uuid; what process 1 is)
//!                              config, mounts, firn_json    (contents, pure)
//!                              publish                      (to disk, all or nothing)
//!                    ─ rootfs: overlay, copy                (only with --copy)
//!                      store:  staging                      (where it is built)
//! ```
//!
//! `cli::inspect` goes the other way, from a bundle to what it is made of.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod cli;
pub mod rootfs;
pub mod source;
pub mod store;
