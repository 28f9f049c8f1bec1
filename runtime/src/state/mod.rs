//! The state directory of a container: the holder of its lock may change it; its record is
//! what later commands know of the container.
//!
//! | module | contents |
//! |---|---|
//! | `dir`, `files` | the directory, its lock, its files |
//! | `trust` | which owners and modes of files are trusted |
//! | `record`, `keyring` | stored between commands |
//! | `status`, `process` | derived on each call, never stored |
//! | `start`, `pid_file` | how `start` reaches init; `--pid-file` |
//! | `oci_state`, `container` | the state of the specification; a container to join |

pub(crate) mod container;
pub(crate) mod dir;
pub(crate) mod files;
pub(crate) mod keyring;
pub(crate) mod oci_state;
pub(crate) mod pid_file;
pub(crate) mod process;
mod record;
pub(crate) mod start;
mod status;
mod trust;

pub use crate::host::proc_cgroup;
pub use crate::time::rfc3339;
pub use dir::{StateDir, StateRoot, check_id, default_root};
pub use oci_state::State;
pub use record::Record;
pub use status::Status;
