//! Why a layer can't be extracted.

use crate::tar::read::TarError;
use std::io;
use std::path::PathBuf;

/// Why a layer can't be extracted. Paths are in the layer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("extract {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("extract {path}: {reason}")]
    Refused { path: PathBuf, reason: &'static str },
    #[error(
        "extract {path}: a hard link to {target}, which is not in the same layer: the image was not made as an overlay; flatten it (podman export), or copy the file instead"
    )]
    LinkOutside { path: PathBuf, target: PathBuf },
    #[error(
        "extract {path}: it belongs to user {uid} and group {gid}, for which the user namespace has no ids: /etc/subuid and /etc/subgid must give 65536 of them or more"
    )]
    NoId { path: PathBuf, uid: u32, gid: u32 },
    #[error("extract {path}: attribute {name}")]
    Attribute { path: PathBuf, name: String, source: io::Error },
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
}
