//! The container's session keyring. Its name has 128 random bits, and is stored in the
//! state record only: a session keyring can be created or joined by name
//! (keyctl_join_session_keyring(3)). `_ses.ID`, the name under other runtimes, can be
//! guessed by any user, who creates it first and then reads the container's keys.

use crate::error::{Context, Result};
use crate::sys::keys;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::CString;

/// The session keyring of a container's processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keyring {
    /// A new, unnamed keyring for each process.
    #[default]
    Anonymous,
    /// `--no-new-keyring`: the caller's.
    Callers,
    Named(String),
}

/// Possessor: all rights; owner: search, which joining by name takes, and nothing else
/// (keyctl_setperm(3)). Without view, the name is not shown in /proc/keys to a process
/// that does not possess the keyring. runc adds search to the rights of `INITIAL`, with
/// which the name is shown.
const PERMISSIONS: u32 = 0x3f08_0000;
/// The rights of a new keyring, security/keys/process_keys.c.
const INITIAL: u32 = 0x3f13_0000;

impl Keyring {
    /// For container `id`: a new keyring, or the caller's. Errors: those of getrandom(2).
    pub fn new(id: &str, is_new: bool) -> Result<Self> {
        if !is_new {
            return Ok(Keyring::Callers);
        }
        let random = keys::random_u128().doing(|| "getrandom for the name of the session keyring")?;
        Ok(Keyring::Named(format!("_ses.{id}.{random:032x}")))
    }
}

/// Joins or creates the keyring. One that is not the container's is not used: the process
/// then gets a new one.
pub fn join(keyring: &Keyring) -> Result<()> {
    let name = match keyring {
        Keyring::Callers => return Ok(()),
        Keyring::Anonymous => None,
        Keyring::Named(name) => Some(CString::new(name.as_str()).unwrap_or_default()),
    };
    match join_owned(name) {
        // ENOSYS: a kernel without keyrings has no keys to protect.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).doing(|| "create a session keyring (use --no-new-keyring to do without)"),
    }
}

/// The keyring of that name may have been created, or its rights widened, by the container,
/// or by a process to which it has disclosed the name: its owner and rights are checked.
fn join_owned(name: Option<CString>) -> rustix::io::Result<()> {
    if let Some(name) = name {
        let key = keys::join_session_keyring(Some(&name))?;
        match keys::describe(key).ok().as_deref().and_then(owner_and_permissions) {
            Some((uid, INITIAL)) if uid == keyring_owner() => return keys::set_permissions(key, PERMISSIONS),
            Some((uid, PERMISSIONS)) if uid == keyring_owner() => return Ok(()),
            _ => {}
        }
    }
    keys::join_session_keyring(None).map(drop)
}

/// The uid as which the kernel creates a keyring.
fn keyring_owner() -> u32 {
    rustix::process::getuid().as_raw()
}

/// From the text of keyctl_describe(3).
fn owner_and_permissions(text: &str) -> Option<(u32, u32)> {
    let mut fields = text.split(';');
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, u32::from_str_radix(fields.nth(1)?, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_owner_and_permissions() {
        assert_eq!(owner_and_permissions("keyring;1000;0;3f080000;_ses.x"), Some((1000, PERMISSIONS)));
        assert_eq!(owner_and_permissions("keyring;-1;0;3f080000;_ses.x"), None);
        assert_eq!(owner_and_permissions("keyring"), None);
    }
}
