//! What the files of a container say. Each has a version: a newer firnctl reads what an older one
//! has left, and an older one refuses what it would misunderstand.

use crate::definition::schema::Definition;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version that is written.
pub const VERSION: u32 = 1;

/// What is wanted of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    pub version: u32,
    pub origin: Origin,
    pub definition: Definition,
}

/// Where a definition came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The project's file; none for standard input and expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The definition's name in it, where that makes several containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_name: Option<String>,
    /// It is of the host's configuration, as NixOS's is: only a change of that adds or removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_declared: bool,
}

impl Origin {
    /// The host's configuration has no containers any more.
    pub fn is_gone(&self) -> bool {
        self.is_declared && self.file.as_ref().is_none_or(|file| !file.exists())
    }
}

/// What a container was started with, and has been given since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub version: u32,
    pub definition: Definition,
    /// The store path that `path` or `flake` led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<PathBuf>,
    /// Systems that have run since the start, whose store paths it still sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_systems: Vec<PathBuf>,
    /// The layers that `rootFS` led to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<PathBuf>,
    /// The first id on the host, where it has a user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_id: Option<u32>,
    /// The number of its generation.
    pub generation: u32,
}

/// A record that names its version.
pub trait Versioned {
    fn version(&self) -> u32;
}

impl Versioned for Wanted {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for Running {
    fn version(&self) -> u32 {
        self.version
    }
}
