//! `firn.json`: what firn adds to a bundle, in a file of its own beside
//! config.json. Never in annotations: engines copy an image's annotations into
//! config.json, so an image could otherwise name host paths.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The file's name inside the bundle.
pub const FILE: &str = "firn.json";

/// The whole of `firn.json`. An unknown field is an error: a mistyped name
/// must not quietly change what root a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roots {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

/// How the container's root file system is put together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Root {
    /// Absolute directories, lowest first, overlaid at `/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<PathBuf>,
    /// `tmpfs`, `tmpfs:OPTIONS` (as in `size=64m`), or an absolute directory
    /// that keeps what the container writes (its `upper/` and `work/`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<String>,
    /// Absolute path of a file with one store path a line: what the container
    /// sees at /nix/store, and nothing else of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<PathBuf>,
    /// Where the store lies on the host; /nix/store when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
}

/// What the monitor has to know of the container's init.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Init {
    /// Exit status by which init asks to be started anew (133 in firn's bundles).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_exit_code: Option<u8>,
    /// Whether init tells when it is ready, over the socket that NOTIFY_SOCKET
    /// names inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<bool>,
}
