//! Builds bundles, and images of the OCI. In the order of the flow:
//!
//! ```text
//! argv ─ cli::bundle ─ source: image (a layout or an archive), nix (a closure), directory (layers)
//!                    ─ oci:    reference, index → graph   which image, its config and its layers; of an index
//!                              platform                   the one for this machine, or for another
//!                    ─ store:  layers → layer::apply      its layers, each unpacked once (tar)
//!                    ─ rootfs: view → users               what both show together
//!                    ─ bundle: plan                       all that was looked up
//!                              config, mounts, firn_json  contents of its files, pure
//!                              files                      the files
//!                    ─ rootfs: erofs                      the closure in one mount
//!                    ─ rootfs: overlay, copy              for --copy
//!                    ─ store:  staging, gcroots           where it is built; kept from collection
//!                    ─ bundle: publish                    to its place, all or nothing
//!
//! argv ─ cli::build  ─ source: nix (closures with their references), directory
//!                    ─ layer:  plan                       which store paths share a layer
//!                    ─ build:  options, plan              all that was looked up
//!                    ─ layer:  pack → tar_write, compress a tree as a blob, hashed as it is written (oci)
//!                    ─ store:  layout                     blobs, and the index after all of them
//!
//! argv ─ cli::copy   ─ source: image, registry            what is copied; places, credentials, the connection
//!                    ─ store:  pull, import → layout      blobs, verified, and the index after them
//!                              arriving                   layers, unpacked while they are fetched
//!                              push                       blobs that the registry lacks, then the manifest
//!
//! argv ─ cli::gc     ─ store:  gc                          without what reachable, bundle_records and mounted find
//! argv ─ cli::verify ─ store:  verify → compare            blobs, and layers unpacked anew
//! ```
//!
//! `cli::inspect` goes the other way, from a bundle to what it is made of. `layer` knows the marks
//! of overlayfs in a layer, for `rootfs`; `caller` the user namespace of an ordinary user.
//!
//! The layers, from the top down: `cli`, `build`, `bundle`, `store`, `rootfs`, `layer`, `source`,
//! `sandbox`, `caller`, `oci`, `tar`, `progress`, `sys`. A module imports from those below it (`cargo xtask structure`).

#![deny(unsafe_code)]

pub mod cli;

mod build;
mod bundle;
mod caller;
mod layer;
mod oci;
mod progress;
mod rootfs;
mod sandbox;
mod source;
mod store;
mod sys;
mod tar;
