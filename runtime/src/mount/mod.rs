//! Mounts as descriptors: what comes from outside, file systems that are made, and how
//! one is attached inside the container's root.
//!
//! In the order in which a mount comes to be:
//!
//! | module | what it holds |
//! |---|---|
//! | `sources`, `bind_source` | what of the host's a mount shows, opened by whom and when |
//! | `bind_options` | the options of a bind, on a copy of its source |
//! | `file_system` | a new file system, fsopen(2) |
//! | `overlay` | a root of layers |
//! | `target` | the place inside the root |
//! | `attach` | move_mount(2), descriptor to descriptor |
//! | `private_mntns` | what takes a mount namespace of its own: the classic mount(2) |
//! | `procfs`, `procfs_helper` | a private procfs; one of a pid namespace that is joined |

pub mod attach;
pub mod bind_options;
pub mod bind_source;
pub mod file_system;
pub mod overlay;
pub mod private_mntns;
pub mod procfs;
mod procfs_helper;
pub mod sources;
pub mod target;

pub use procfs::ProcFd;
