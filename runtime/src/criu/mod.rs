//! Checkpoint and restore by CRIU: firn passes what CRIU can't find out about a container, and
//! acts on CRIU's notifications. In the order of use:
//!
//! | module | contents |
//! |---|---|
//! | [`options`] | the caller's options as criu_opts; images and work directory |
//! | [`streams`] | standard streams that are pipes of the caller |
//! | [`external`] | keys of external namespaces |
//! | [`mounts`] | external mounts; what can't be dumped |
//! | [`dump`] | `checkpoint` |
//! | [`root`] | the root on which CRIU mounts the other mounts |
//! | [`restore`] | `restore` |
//! | [`hierarchy`] | the mount options of the host's cgroup v2 |
//! | [`service`], [`rpc`], [`wire`] | CRIU as a child process, its requests, protocol buffers |

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

/// Errors: the caller is not root of the initial user namespace, which CRIU requires.
pub fn require_root() -> Result<()> {
    if host::is_rootless() {
        bail!("checkpoint and restore need root of the initial user namespace, which CRIU requires");
    }
    Ok(())
}
