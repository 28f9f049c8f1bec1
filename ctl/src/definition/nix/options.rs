//! What is asked of Nix besides the definition.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the command line says of Nix.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Attribute path within the expression.
    pub attribute: Option<String>,
    /// Nix expression of nixpkgs' path; `<nixpkgs>` if `None`.
    pub nixpkgs: Option<String>,
    /// Nix expression of NixOS's path; that in nixpkgs if `None`.
    pub nixos: Option<String>,
    /// `extra.enableSSH` is on in each container with a system, where it is not off.
    pub enables_ssh: bool,
    /// The key of `extra.enableSSH`, which may be made; `None`: there is no place for one.
    pub ssh_key: Option<PathBuf>,
    /// The release of NixOS with which each container began to write.
    pub state_versions: BTreeMap<String, String>,
    /// Passed to Nix's programs.
    pub arguments: Vec<String>,
    /// How far systems are needed.
    pub depth: Depth,
    /// Where what was evaluated is kept.
    pub cache: Option<PathBuf>,
}

/// How far the systems of containers with `config` are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Not at all: `path` is [`NOT_EVALUATED`].
    #[default]
    Names,
    /// Their store paths.
    Evaluated,
    /// Built.
    Built,
}

/// The `path` of a container whose system was not asked for.
pub const NOT_EVALUATED: &str = "/nix/store/not-evaluated";
