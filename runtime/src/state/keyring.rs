//! The container's session keyring. Its name has 128 random bits and is written down
//! in the state record alone, for whoever knows the name of a keyring may make one
//! of that name beforehand, or join it: `_ses.ID`, as under other runtimes, can be
//! guessed by any user, who then reads the container's keys.

use crate::error::{Context, Result};
use crate::sys::keys;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::CString;

/// What a container's processes have for a session keyring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keyring {
    /// Each its own, without a name.
    #[default]
    Anonymous,
    /// `--no-new-keyring`: whatever the caller has.
    Callers,
    Named(String),
}

/// The possessor may do all; the owner may search, which joining by name takes, and
/// nothing else: who does not possess it does not even see its name in /proc/keys,
/// keyctl_setperm(3). runc adds the same right to those by which the name is seen.
const PERMISSIONS: u32 = 0x3f08_0000;
/// Those that a keyring is made with, security/keys/process_keys.c.
const INITIAL: u32 = 0x3f13_0000;

impl Keyring {
    /// For container `id`: a new one, or the caller's.
    pub fn new(id: &str, is_new: bool) -> Result<Self> {
        if !is_new {
            return Ok(Keyring::Callers);
        }
        let random = keys::random_u128().doing(|| "make the name of a session keyring")?;
        Ok(Keyring::Named(format!("_ses.{id}.{random:032x}")))
    }
}

/// Joins the keyring, or makes it. One that could be another's is not taken: the process
/// has a new one then.
pub fn join(keyring: &Keyring) -> Result<()> {
    let name = match keyring {
        Keyring::Callers => return Ok(()),
        Keyring::Anonymous => None,
        Keyring::Named(name) => Some(CString::new(name.as_str()).unwrap_or_default()),
    };
    match join_owned(name) {
        // A kernel without keyrings has no keys to protect.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).doing(|| "make a session keyring (create with --no-new-keyring to leave it out)"),
    }
}

/// What is joined by name may have been made, or opened to others, by the container,
/// or by somebody to whom it has told the name: then it is not what we want.
fn join_owned(name: Option<CString>) -> rustix::io::Result<()> {
    if let Some(name) = name {
        let key = keys::join_session_keyring(Some(&name))?;
        match keys::describe(key).ok().as_deref().and_then(owner_and_permissions) {
            Some((uid, INITIAL)) if uid == own_uid() => return keys::set_permissions(key, PERMISSIONS),
            Some((uid, PERMISSIONS)) if uid == own_uid() => return Ok(()),
            _ => {}
        }
    }
    keys::join_session_keyring(None).map(drop)
}

/// Whom the kernel makes a keyring for.
fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Of the text that keyctl_describe(3) gives.
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
