//! Being somebody in a new user namespace, before anything is made there.

use super::context::Init;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::sys::{clone, ids};

pub fn become_root(init: &mut Init<'_>) -> Result<()> {
    if init.plan.namespaces.makes(clone::NEWUSER) {
        init.channel.expect(&Message::Mapped)?;
    } else if !init.plan.namespaces.joins(clone::NEWUSER) {
        return Ok(());
    }
    // Without a mapping for the namespace's root, we stay who we are there.
    let _ = ids::set_gid(0);
    match ids::set_uid(0) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        result => result.doing(|| "become root of the user namespace"),
    }
}
