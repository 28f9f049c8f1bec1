//! Checkpoint and restore, by criu: firn tells it what it can't know of a
//! container, and does at each moment what only a runtime can. In the order in
//! which it happens:
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | what the caller wants, as criu's options; the folders of images |
//! | [`streams`] | standard streams that lead outside |
//! | [`external`] | the names of namespaces that stay outside |
//! | [`mounts`] | which mounts come from outside, and what can't be kept |
//! | [`dump`] | a container becomes images |
//! | [`root`] | the root on which criu mounts the rest |
//! | [`restore`] | images become a container |
//! | [`hierarchy`] | what criu takes from the machine's cgroups, put back |
//! | [`service`], [`rpc`], [`wire`] | criu as a child, what is said to it, and how |

pub mod dump;
pub mod external;
pub mod hierarchy;
pub mod mounts;
pub mod options;
pub mod restore;
pub mod root;
pub mod rpc;
pub mod service;
pub mod streams;
pub mod wire;

use crate::bail;
use crate::error::Result;
use crate::host;

/// criu reads and writes what only the machine's root may.
pub fn need_root() -> Result<()> {
    if host::is_rootless() {
        bail!("checkpoint and restore need the machine's root: criu can do neither for an ordinary user");
    }
    Ok(())
}
