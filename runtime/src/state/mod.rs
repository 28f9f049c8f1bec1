//! A container's directory under the runtime's root: who holds its lock may
//! change it; its record is what every later command knows of the container.
//!
//! | module | what it holds |
//! |---|---|
//! | `dir`, `files` | the directory, its lock, its files |
//! | `trust` | whose files are believed |
//! | `record`, `keyring` | what is known between commands |
//! | `status`, `process` | worked out, never stored |
//! | `start`, `pid_file` | how `start` reaches init; `--pid-file` |
//! | `oci_state`, `container` | the state as others see it; for those who join |

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
