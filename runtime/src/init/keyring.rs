//! A session keyring of the container's own.

use super::Init;
use crate::error::{Context, Result};
use crate::sys;
use rustix::io::Errno;
use std::ffi::CString;

pub fn join(init: &mut Init<'_>) -> Result<()> {
    if init.options.no_new_keyring {
        return Ok(());
    }
    let name = CString::new(format!("_ses.{}", init.plan.id)).unwrap_or_default();
    match sys::keys::join_session_keyring(&name) {
        // A kernel without keyrings has no keys to protect.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).doing(|| "make a session keyring (--no-new-keyring leaves it out)"),
    }
}
