//! The ids of init in a user namespace.

use super::context::Init;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::sys::{clone, ids};

/// setresuid(0), setresgid(0), once the id maps are written: until then the process has the
/// overflow ids, and so would files that it creates, user_namespaces(7).
pub fn become_root(init: &mut Init<'_>) -> Result<()> {
    if init.plan.namespaces.makes(clone::NEWUSER) {
        init.channel.expect(&Message::Mapped)?;
    } else if !init.plan.namespaces.joins(clone::NEWUSER) {
        return Ok(());
    }
    // Id 0 may be unmapped (EINVAL): the ids stay.
    let _ = ids::set_gid(0);
    match ids::set_uid(0) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        result => result.doing(|| "setresuid to root of the user namespace"),
    }
}
