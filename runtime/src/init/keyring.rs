//! The session keyring of the new process, with the SELinux label of its keys.

use super::context::{Init, ProcessState};
use crate::error::Result;
use crate::state::keyring::{self, Keyring};

/// Joins init to the container's session keyring.
pub fn join_for_init(init: &mut Init<'_>) -> Result<()> {
    join_keyring(&mut init.state, &init.record.keyring)
}

/// Joins the session keyring, or creates it. An exec joins the container's where it may
/// search it, and gets a new one otherwise.
pub fn join_keyring(state: &mut ProcessState<'_>, keyring: &Keyring) -> Result<()> {
    // /proc/self/attr/keycreate labels new keys, as in runc; a newline resets it.
    let Some(label) = state.plan.selinux.clone().filter(|_| *keyring != Keyring::Callers) else {
        return keyring::join(keyring);
    };
    state.proc()?.write("self/attr/keycreate", &label)?;
    let joined = keyring::join(keyring);
    state.proc()?.write("self/attr/keycreate", "\n")?;
    joined
}
