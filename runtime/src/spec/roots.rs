//! `firn.json`: what firn adds to a bundle, in a file of its own beside
//! config.json. Never in annotations: engines copy an image's annotations into
//! config.json, so an image could otherwise name host paths.

use crate::bail;
use crate::error::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name inside the bundle.
pub const FILE: &str = "firn.json";

/// No firn.json comes near it.
const LARGEST: usize = 16 << 20;

/// Reads the firn.json of a bundle, and gives its text too; `None` if there is
/// none. It names host paths for whoever runs the bundle, so it must be a file of
/// the caller's or of root, and writable by nobody else.
pub fn read(bundle: &Path) -> Result<Option<(Roots, Vec<u8>)>> {
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
    let roots = parse(&text).doing(|| format!("parse {}", path.display()))?;
    Ok(Some((roots, text)))
}

/// The contents of a firn.json.
pub fn parse(text: &[u8]) -> Result<Roots> {
    let other = |error: serde_json::Error| crate::error::Error::new(error.to_string());
    let value: serde_json::Value = serde_json::from_slice(text).map_err(other)?;
    // serde takes a list for a struct, with fields by their order; nobody means that.
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
