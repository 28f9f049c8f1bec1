pub mod directory;
pub mod nix;
