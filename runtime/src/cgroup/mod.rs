//! The container's cgroup, managed by its files: one directory on cgroup v2; one in each
//! hierarchy on v1 and hybrid hosts.

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
