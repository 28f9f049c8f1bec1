//! config.json as it is written. Lenient, as the specification demands: unknown fields are
//! ignored, `null` means absent, and keys match in any case, as for Go's encoding/json. Names
//! that a newer kernel may know stay strings until `plan` evaluates them. Source: runtime-spec
//! 1.3, config.md and config-linux.md.

pub mod firn_config;
pub mod hooks;
pub mod keys;
pub mod linux;
pub mod mount;
pub mod notify_socket;
mod null;
pub mod process;
pub mod resources;
pub mod seccomp;
pub mod signal;

use crate::error::{Context, Result};
use hooks::Hooks;
use linux::Linux;
use mount::Mount;
use null::nullable;
use process::Process;
use rustix::fs::{FileType, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The newest version of the runtime-spec that firn implements.
pub const VERSION: &str = "1.3.0";

/// config.json.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(deserialize_with = "nullable")]
    pub oci_version: String,
    pub process: Option<Process>,
    pub root: Option<Root>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// `root`. The path is absolute, or relative to the bundle.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Root {
    #[serde(deserialize_with = "nullable")]
    pub path: String,
    #[serde(deserialize_with = "nullable")]
    pub readonly: bool,
}

/// Reads a JSON file of the bundle. Errors: more than [`LIMIT`] bytes.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_file(path)?;
    keys::from_slice(&text).doing(|| format!("parse {}", path.display()))
}

/// Largest file in bytes.
pub const LIMIT: usize = 16 << 20;

/// Reads a regular file, or a pipe as of the shell's `<(…)`. The buffer has st_size, so that
/// config.json takes one read(2). Errors: another type of file; more than [`LIMIT`] bytes.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("open {}", path.display());
    // O_NONBLOCK: opening a FIFO without a writer, and some devices, would block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).doing(what)?;
    let stat = rustix::fs::fstat(&file).doing(what)?;
    let text = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_size as usize > LIMIT => None,
        // Files of procfs have st_size 0.
        FileType::RegularFile if stat.st_size > 0 => {
            Some(crate::path::read_exactly(&file, stat.st_size as usize).doing(|| format!("read {}", path.display()))?)
        }
        FileType::RegularFile | FileType::Fifo => {
            crate::path::read_at_most(&file, LIMIT).doing(|| format!("read {}", path.display()))?
        }
        _ => crate::bail!("{} is neither a regular file nor a pipe", path.display()),
    };
    match text {
        Some(text) => Ok(text),
        None => crate::bail!("{} is larger than {LIMIT} bytes", path.display()),
    }
}

/// Parses a config.json. Errors: JSON syntax, a wrong type, with line and column.
pub fn parse(text: &[u8]) -> std::result::Result<Spec, serde_json::Error> {
    keys::from_slice(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent_and_unknown_fields_are_passed_over() {
        let spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.2","mounts":null,"annotations":null,"hooks":null,"vm":{"x":1},
                "process":{"args":null,"env":null,"user":{"uid":1,"gid":2,"umask":null},"cwd":"/"},
                "linux":{"namespaces":null,"resources":{"devices":null,"memory":{"limit":null}}}}"#,
        )
        .unwrap();
        assert!(spec.mounts.is_empty());
        assert_eq!(spec.process.unwrap().user.uid, 1);
    }

    #[test]
    fn a_wrong_type_says_where() {
        let error = serde_json::from_str::<Spec>("{\n\"hostname\": 7}").unwrap_err();
        assert_eq!(error.to_string(), "invalid type: integer `7`, expected a string at line 2 column 13");
    }
}
