//! Mounts as descriptors: sources on the host, new file systems, and the attachment
//! inside the container's root.
//!
//! In the order in which a mount comes to be:
//!
//! | module | what it holds |
//! |---|---|
//! | `sources`, `bind_source` | what is opened on the host, by whom and when |
//! | `bind_options` | the options of a bind, on a detached copy of its source |
//! | `file_system` | a new file system, fsopen(2) |
//! | `layered_root`, `container_ids` | the root of a firn.json; its owners in a user namespace |
//! | `overlay` | layers |
//! | `store_view`, `closure_image` | a closure, by a mount for each path; in one mount |
//! | `target` | the target inside the root |
//! | `attach` | move_mount(2), descriptor to descriptor |
//! | `private_mntns` | what takes a private mount namespace: the legacy mount(2) |
//! | `procfs`, `procfs_helper` | a private procfs; one of a joined pid namespace |

pub mod attach;
pub mod bind_options;
pub mod bind_source;
pub mod closure_image;
pub mod container_ids;
pub mod file_system;
pub mod layered_root;
pub mod overlay;
pub mod private_mntns;
pub mod procfs;
mod procfs_helper;
pub mod sources;
pub mod store_view;
pub mod target;

pub use procfs::ProcFd;
