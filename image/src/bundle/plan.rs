//! From a checked request to a bundle on disk.

use super::identity::Identity;
use super::init::Init;
use crate::rootfs::users::User;
use crate::source::directory::Layers;
use crate::source::nix::store_path::{Store, StorePath};
use std::path::PathBuf;

/// A closure to show at /nix/store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// The path that was asked for.
    pub path: StorePath,
    /// Everything that it needs, itself included, sorted.
    pub paths: Vec<StorePath>,
    /// Whether Nix's garbage collector decides over the store, so that the closure needs a root.
    pub is_collected: bool,
}

/// What keeps the changes that the container makes to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// A fresh tmpfs at each start, with mount options.
    Tmpfs(Option<String>),
    /// A directory, absolute.
    Directory(PathBuf),
}

/// Everything that the bundle's files are made from. Nothing in here is looked
/// up any more: the rest is pure but for the writing itself.
#[derive(Debug)]
pub struct Plan {
    /// Where the bundle will lie, absolute.
    pub output: PathBuf,
    pub identity: Identity,
    pub layers: Layers,
    pub closure: Option<Closure>,
    pub store: Store,
    pub upper: Upper,
    /// The root is copied into the bundle, which any runtime can then run.
    pub copy: bool,
    pub init: Init,
    /// Set over the defaults, in order.
    pub env: Vec<(String, String)>,
    /// What PATH is made of, highest first.
    pub path: Vec<String>,
    pub terminal: bool,
    pub cwd: String,
    pub user: User,
    /// Process 1 says when it is ready.
    pub notify: bool,
    /// The host's os-release, for /run/host/os-release.
    pub os_release: Option<Vec<u8>>,
}

impl Plan {
    /// A file of the bundle, at its final place.
    pub fn file(&self, name: &str) -> PathBuf {
        self.output.join(name)
    }
}

/// Names of what a bundle holds, for those who write, name or replace it.
pub mod names {
    pub const CONFIG: &str = "config.json";
    pub const ROOTFS: &str = "rootfs";
    pub const CLOSURE: &str = "closure";
    pub const SKELETON: &str = "skeleton";
    /// The closure of a copied bundle.
    pub const STORE: &str = "store";
    pub const INIT: &str = "firn-init";
    pub const HOST: &str = "host";
    pub const GCROOT: &str = "gcroot";
    /// Files of [`HOST`], each shown at /run/host under the same name.
    pub const MANAGER: &str = "container-manager";
    pub const UUID: &str = "container-uuid";
    pub const OS_RELEASE: &str = "os-release";
}
