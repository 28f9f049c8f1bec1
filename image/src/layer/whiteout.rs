//! The marks of overlayfs in a layer, by which a name hides what lower layers hold (kernel
//! documentation, filesystems/overlayfs.rst, "whiteouts and opaque directories").
//!
//! Files are given by a path that leads to them, such as a magic link of /proc/self/fd. A
//! container's overlay is mounted without `userxattr`, so attributes `user.overlay.` mean nothing; they
//! are for layers of ordinary users, whose overlay is mounted with it.

use crate::caller;
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

/// By which attributes a layer is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Marks {
    /// `trusted.overlay.`, which need CAP_SYS_ADMIN outside of user namespaces.
    Trusted,
    /// `user.overlay.`, for overlays mounted with `userxattr`.
    User,
}

impl Marks {
    /// Those that count in the overlays of the caller's containers.
    pub(crate) fn of_caller() -> Self {
        if caller::is_host_root() { Self::Trusted } else { Self::User }
    }

    /// The attribute of a directory that hides those of the same name in lower layers, if it is "y".
    pub(crate) fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    fn whiteout(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.whiteout",
            Self::User => "user.overlay.whiteout",
        }
    }
}

/// Whether a directory hides those of the same name in lower layers.
pub(crate) fn is_opaque(directory: &str) -> bool {
    has_value(directory, Marks::of_caller().opaque(), b"y")
}

/// Whether an entry of `directory` is a whiteout, which hides the name: a character device 0:0, or
/// an empty file with an attribute in a directory that says so (Linux 6.7).
pub(crate) fn is_whiteout(entry: &str, stat: &Stat, directory: &str) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => {
            let marks = Marks::of_caller();
            has_value(directory, marks.opaque(), b"x")
                && rustix::fs::getxattr(entry, marks.whiteout(), &mut [0; 0]).is_ok()
        }
        _ => false,
    }
}

/// Whether an extended attribute has exactly this value.
fn has_value(file: &str, name: &str, wanted: &[u8]) -> bool {
    let mut value = [0; 1];
    let length = rustix::fs::getxattr(file, name, &mut value);
    length.is_ok_and(|length| &value[..length] == wanted)
}
