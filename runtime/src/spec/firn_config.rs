//! `firn.json`: firn's additions to a bundle, in a file beside config.json. Not annotations:
//! engines copy an image's annotations into config.json, so that an image could name paths of
//! the host.

use crate::bail;
use crate::error::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Name of the file in the bundle.
pub const FILE: &str = "firn.json";

/// Largest file in bytes.
const LARGEST: usize = 16 << 20;

/// Reads the firn.json of a bundle, and returns its text too; None if there is none. It has paths
/// of the host, so it must be owned by the caller or root, and writable by its owner alone.
/// Errors: otherwise; more than 16 MiB; those of [`parse`].
pub fn read(bundle: &Path) -> Result<Option<(FirnConfig, Vec<u8>)>> {
    let path = bundle.join(FILE);
    let what = || format!("open {}", path.display());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(rustix::fs::CWD, &path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        result => result.doing(what)?,
    };
    let stat = rustix::fs::fstat(&file).doing(what)?;
    let euid = rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        bail!("{} must be a file", path.display());
    }
    if (stat.st_uid != euid && stat.st_uid != 0) || stat.st_mode & 0o022 != 0 {
        let or_root = if euid == 0 { "" } else { " or to root" };
        bail!("{} must belong to user {euid}{or_root} and be writable by nobody else", path.display());
    }
    if stat.st_size as usize > LARGEST {
        bail!("{} is larger than 16 MiB", path.display());
    }
    let text = crate::path::read_all(&file, stat.st_size as usize).doing(what)?;
    let config = parse(&text).doing(|| format!("parse {}", path.display()))?;
    Ok(Some((config, text)))
}

/// Parses a firn.json. Errors: a field that is unknown or has a wrong type.
pub fn parse(text: &[u8]) -> Result<FirnConfig> {
    let other = |error: serde_json::Error| crate::error::Error::new(error.to_string());
    let value: serde_json::Value = serde_json::from_slice(text).map_err(other)?;
    // serde accepts an array for a struct; refused.
    if !value.is_object() {
        bail!("it is not a JSON object");
    }
    for name in ["root", "init"] {
        if value.get(name).is_some_and(|part| !part.is_object() && !part.is_null()) {
            bail!("{name:?} is not a JSON object");
        }
    }
    serde_json::from_slice(text).map_err(other)
}

/// A firn.json. Unknown fields are errors: a misspelled one must not change the root of a
/// container unnoticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirnConfig {
    /// The root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// For the monitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

/// The layers of the container's root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Root {
    /// Absolute paths of directories, lowest first, mounted as an overlay at `/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<PathBuf>,
    /// `tmpfs`, `tmpfs:OPTIONS` (such as `size=64m`), or the absolute path of a directory that
    /// keeps what the container writes, in `upper/` and `work/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<String>,
    /// Absolute path of a file with one store path per line: these are shown at /nix/store,
    /// and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<PathBuf>,
    /// Absolute path of an EROFS image of the closure's metadata, whose files redirect into the
    /// store (`trusted.overlay.redirect`): the closure is then one mount. Without it, or where
    /// it can't be mounted, each store path of the list is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure_image: Option<PathBuf>,
    /// Path of the store on the host; default /nix/store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
}

/// What the monitor needs to know of the container's init.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Init {
    /// Exit status by which init requests a restart (133 in firn-image's bundles).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_exit_code: Option<u8>,
    /// Whether init reports readiness by sd_notify(3), over the socket of NOTIFY_SOCKET in the
    /// container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_only_and_known_names_only() {
        for good in ["{}", r#"{"root":null}"#, r#"{"init":{"notify":true}}"#, r#"{"root":{"layers":["/a"]}}"#] {
            assert!(parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "[]",
            "null",
            "",
            "[null,null]",
            r#"{"root":[["/etc"]]}"#,
            r#"{"init":[133,true]}"#,
            r#"{"rot":{}}"#,
            r#"{"root":{},"root":{}}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
