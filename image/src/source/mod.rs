//! What a root is made from: images, closures of Nix store paths, and directories.

mod archive;
pub(crate) mod directory;
pub(crate) mod image;
pub(crate) mod nix;
pub(crate) mod oci_layout;
pub(crate) mod registry;
mod tar_file;
