//! The plan of a bundle.

use super::identity::Identity;
use super::init::Init;
use crate::caller::{self, IdMaps};
use crate::rootfs::users::User;
use crate::source::directory::Layers;
use crate::source::nix::closure::Closure;
use crate::source::nix::store_path::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the container's changes to its root are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upper {
    /// A new tmpfs at each start, with mount options (tmpfs(5)).
    Tmpfs(Option<String>),
    /// An absolute directory.
    Directory(PathBuf),
}

/// All that the bundle's files are made from. Everything was looked up: what follows is pure but for
/// the writing.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The place of the bundle, absolute.
    pub(crate) output: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) layers: Layers,
    pub(crate) closure: Option<Closure>,
    pub(crate) store: Store,
    pub(crate) upper: Upper,
    /// The root is copied into the bundle, so that any OCI runtime can run it.
    pub(crate) copy: bool,
    pub(crate) init: Init,
    /// The root is an image's, which has a /run and /tmp of its own.
    pub(crate) from_image: bool,
    /// Beside the stop signal, which an image's come before.
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) volumes: Vec<Volume>,
    /// Setuid programs and file capabilities have an effect.
    pub(crate) new_privileges: bool,
    /// Set after the defaults, in order.
    pub(crate) env: Vec<(String, String)>,
    /// Directories that PATH begins with.
    pub(crate) path: Vec<String>,
    pub(crate) terminal: bool,
    /// The working directory in the container.
    pub(crate) cwd: String,
    pub(crate) user: User,
    /// Process 1 notifies when it is ready.
    pub(crate) notify: bool,
    /// The host's os-release, for /run/host/os-release.
    pub(crate) os_release: Option<Vec<u8>>,
    /// Those of a container with a user namespace, as an ordinary user's is.
    pub(crate) id_maps: Option<IdMaps>,
}

/// A directory of an image whose data is the container's: a tmpfs that begins as the image has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Plan {
    /// Whether the container has the /run, /tmp and /run/host of a system (systemd, "Container
    /// Interface").
    pub(crate) fn has_host_files(&self) -> bool {
        !self.from_image || self.init.boots()
    }

    /// Whether it gets files of each kind that nobody can open, which only the host's root can make. They would
    /// not be copied with the bundle as other files are.
    pub(crate) fn has_inaccessible_files(&self) -> bool {
        self.has_host_files() && self.init.boots() && !self.copy && caller::is_host_root()
    }

    /// The path of the bundle's file `name`, at its place.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.output.join(name)
    }
}

/// The names of a bundle's files, but for firn.json.
pub(crate) mod names {
    pub(crate) const CONFIG: &str = "config.json";
    pub(crate) const ROOTFS: &str = "rootfs";
    /// The list of the closure's store paths.
    pub(crate) const CLOSURE: &str = "closure";
    /// The EROFS image of the closure.
    pub(crate) const CLOSURE_IMAGE: &str = "closure.erofs";
    /// The lowest layer under a closure.
    pub(crate) const SKELETON: &str = "skeleton";
    /// The closure of a copied bundle.
    pub(crate) const STORE: &str = "store";
    pub(crate) const INIT: &str = "firn-init";
    pub(crate) const HOST: &str = "host";
    /// Files in [`HOST`], each mounted at /run/host under the same name.
    pub(crate) const MANAGER: &str = "container-manager";
    pub(crate) const UUID: &str = "container-uuid";
    pub(crate) const OS_RELEASE: &str = "os-release";
    /// A directory in [`HOST`], likewise.
    pub(crate) const INACCESSIBLE: &str = "inaccessible";
}
