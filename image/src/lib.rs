//! Builds bundles. In the order of the flow:
//!
//! ```text
//! argv ─ cli::bundle ─ source: nix (a closure), directory (layers)
//!                    ─ rootfs: view → users               what both show together
//!                    ─ bundle: plan                       all that was looked up
//!                              config, mounts, firn_json  contents of its files, pure
//!                              files                      the files
//!                    ─ rootfs: erofs                      the closure in one mount
//!                    ─ rootfs: overlay, copy              for --copy
//!                    ─ store:  staging, gcroots           where it is built; kept from collection
//!                    ─ bundle: publish                    to its place, all or nothing
//! ```
//!
//! `cli::inspect` goes the other way, from a bundle to what it is made of. `layer` knows the marks
//! of overlayfs in a layer, for `rootfs`.
//!
//! The layers, from the top down: `cli`, `bundle`, `store`, `rootfs`, `layer`, `source`, `sys`. A
//! module imports from those below it (`cargo xtask structure`).

#![deny(unsafe_code)]

pub mod cli;

mod bundle;
mod layer;
mod rootfs;
mod source;
mod store;
mod sys;
