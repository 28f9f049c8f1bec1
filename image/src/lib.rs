//! Builds bundles for firn. Read in the order of the flow:
//!
//! ```text
//! argv ─ cli::bundle ─ source: store_path → nix_cli, path_list (a closure)
//!                              rootfs_dir               (layers)
//!                              view → users             (what both show together)
//!                    ─ bundle: identity, init           (name, uuid; what process 1 is)
//!                              config, firn_json        (contents, pure)
//!                              mounts                   (used by config)
//!                              merged, copy             (only with --copy)
//!                              temp, write              (to disk, all or nothing)
//! ```
//!
//! `cli::inspect` goes the other way, from a bundle to what it is made of.

#![forbid(unsafe_code)]

pub mod cli;
pub mod source;

pub mod bundle;
