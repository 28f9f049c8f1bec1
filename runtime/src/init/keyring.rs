//! The session keyring of the new process, with the label of its keys.

use super::context::{Init, Task};
use crate::error::Result;
use crate::state::keyring::{self, Keyring};

pub fn join_for_init(init: &mut Init<'_>) -> Result<()> {
    join_keyring(&mut init.task, &init.record.keyring)
}

/// Joins the keyring, or makes it: also for an exec, which shares that of the
/// container where it can be had, and has a new one where not.
pub fn join_keyring(task: &mut Task<'_>, keyring: &Keyring) -> Result<()> {
    // The label of new keys, as runc sets it; a line break takes it back.
    let Some(label) = task.process.selinux.clone().filter(|_| *keyring != Keyring::Callers) else {
        return keyring::join(keyring);
    };
    task.proc()?.write("self/attr/keycreate", &label)?;
    let joined = keyring::join(keyring);
    task.proc()?.write("self/attr/keycreate", "\n")?;
    joined
}
