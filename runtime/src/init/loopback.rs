//! The loopback interface of a new network namespace.

use super::context::Init;
use crate::error::Result;
use crate::network;
use crate::sys::clone;

/// Sets `lo` up, which is down in a new network namespace.
pub fn bring_up(init: &mut Init<'_>) -> Result<()> {
    match init.plan.namespaces.makes(clone::NEWNET) {
        true => network::loopback_up(),
        false => Ok(()),
    }
}
