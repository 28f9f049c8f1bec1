//! The container's cgroup, by files. On cgroup v2 it is one directory; on v1
//! and hybrid hosts one directory in each hierarchy.

pub mod devices;
mod dir;
pub mod freeze;
mod group;
mod handle;
pub mod kill;
mod make;
pub mod oom;
pub mod remove;
pub mod settings;
pub mod stats;
pub mod systemd;
mod v1;
pub mod v2;

pub use dir::Dir;
pub use group::Cgroup;
pub use handle::CgroupHandle;
