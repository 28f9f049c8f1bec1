//! What a root is made from: closures of Nix store paths, and directories.

pub(crate) mod directory;
pub(crate) mod nix;
