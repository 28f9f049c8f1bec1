//! Process 1 of the container: the root's own init, or firn-init with a command.

use crate::rootfs::view::{Found, View, ViewError};
use std::io;
use std::path::{Path, PathBuf};

/// The path in the container at which the bundle's copy of firn-init is mounted.
pub(crate) const FIRN_INIT_PATH: &str = "/run/host/init";

/// What process 1 is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Init {
    /// The root's own init, such as systemd: its path in the container.
    Own(String),
    /// The program of an image, with its arguments.
    Image(Vec<String>),
    /// firn-init, which runs a command.
    Firn {
        /// The binary on the host, which is copied into the bundle.
        binary: PathBuf,
        command: Vec<String>,
        /// The command notifies when it is ready, not firn-init.
        command_notifies: bool,
    },
}

/// Why there is no process 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("find the root's init: {missing} is missing: give a command after --")]
    Missing { missing: PathBuf },
    #[error("find the root's init: {0} is not an executable file: give a command after --")]
    NotExecutable(String),
    #[error("look up {init} in the root")]
    Find { init: String, source: ViewError },
    #[error("find firn-init beside firn-image: {0}: pass --init PATH")]
    Binary(io::Error),
    #[error("firn-init {path}: {problem}: pass --init PATH")]
    BadBinary { path: PathBuf, problem: &'static str },
    #[error("read firn-init {path}: {reason}: pass --init PATH")]
    ReadBinary { path: PathBuf, reason: io::Error },
}

impl Init {
    /// The root's own init at the path `init`. Errors: it is missing or no executable file.
    pub(crate) fn find_own(init: String, view: &View) -> Result<Self, InitError> {
        match view.find(Path::new(&init)) {
            Ok(Found::File { executable: true, .. }) => Ok(Self::Own(init)),
            Ok(Found::Missing(missing)) => Err(InitError::Missing { missing }),
            Ok(_) => Err(InitError::NotExecutable(init)),
            Err(source) => Err(InitError::Find { init, source }),
        }
    }

    /// firn-init with a command: the binary at `given`, or the one beside this program. Errors: it
    /// is not statically linked.
    pub(crate) fn find_firn_init(
        given: Option<PathBuf>,
        command: Vec<String>,
        command_notifies: bool,
    ) -> Result<Self, InitError> {
        let binary = match given {
            Some(path) => path,
            None => std::env::current_exe().map_err(InitError::Binary)?.with_file_name("firn-init"),
        };
        check_binary(&binary)?;
        Ok(Self::Firn { binary, command, command_notifies })
    }

    /// `process.args` of config.json.
    pub(crate) fn args(&self) -> Vec<String> {
        match self {
            Self::Own(init) => vec![init.clone()],
            Self::Image(args) => args.clone(),
            Self::Firn { command, command_notifies, .. } => {
                let mut args = vec![FIRN_INIT_PATH.to_owned()];
                if *command_notifies {
                    args.push("--notify=command".into());
                }
                args.push("--".into());
                args.extend(command.iter().cloned());
                args
            }
        }
    }

    /// Whether it boots a system: it mounts, makes device nodes and runs setuid programs.
    pub(crate) fn boots(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Image(args) => args.first().is_some_and(|program| is_init(program)),
            Self::Firn { .. } => false,
        }
    }
}

/// Whether the program of an image is a system's init: podman gives those the mounts that they expect
/// (`--systemd`, podman-run(1)).
fn is_init(program: &str) -> bool {
    let names = ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"];
    names.contains(&program) || Path::new(program).file_name().is_some_and(|name| name == "systemd")
}

/// Checks that firn-init can run in any root. One with a dynamic loader would fail with ENOENT
/// where the root does not have that.
fn check_binary(path: &Path) -> Result<(), InitError> {
    let bad = |problem| InitError::BadBinary { path: path.to_owned(), problem };
    let error = |reason| InitError::ReadBinary { path: path.to_owned(), reason };
    if !std::fs::metadata(path).map_err(error)?.is_file() {
        return Err(bad("not a file"));
    }
    let elf = std::fs::read(path).map_err(error)?;
    match has_interpreter(&elf) {
        Some(false) => Ok(()),
        Some(true) => Err(bad("not statically linked")),
        None => Err(bad("not a 64-bit program")),
    }
}

/// Whether an ELF file has a program header PT_INTERP (elf(5)); `None` if it is no ELF64 file of this
/// machine's byte order.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let word =
        |at: usize| -> Option<u16> { Some(u16::from_ne_bytes(elf.get(at..at.checked_add(2)?)?.try_into().ok()?)) };
    if !elf.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let headers = u64::from_ne_bytes(elf.get(32..40)?.try_into().ok()?);
    let headers = usize::try_from(headers).ok()?;
    let (size, count) = (usize::from(word(54)?), usize::from(word(56)?));
    for index in 0..count {
        let at = headers.checked_add(index * size)?;
        let kind = elf.get(at..at.checked_add(4)?)?;
        if u32::from_ne_bytes(kind.try_into().ok()?) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_loaders_are_recognised() {
        assert_eq!(has_interpreter(b"#!/bin/sh"), None);
        assert_eq!(has_interpreter(b"\x7fELF\x02"), None);
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        elf[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        elf[56..58].copy_from_slice(&2_u16.to_ne_bytes());
        assert_eq!(has_interpreter(&elf), Some(false));
        elf[64 + 56..64 + 60].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(has_interpreter(&elf), Some(true));
        elf[32..40].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(has_interpreter(&elf), None);
    }

    #[test]
    fn the_command_comes_after_init() {
        let init = |command_notifies| Init::Firn {
            binary: "/x".into(),
            command: vec!["sh".into(), "-c".into()],
            command_notifies,
        };
        assert_eq!(init(false).args(), ["/run/host/init", "--", "sh", "-c"]);
        assert_eq!(init(true).args(), ["/run/host/init", "--notify=command", "--", "sh", "-c"]);
    }
}
