//! What only a machine with systemd can show: pure cgroup v2 with every
//! controller, podman as it is set up on such machines, users with sessions.
//! `cargo xtask vm` runs these tests in its guests, as root.

mod apparmor;
mod checkpoint;
mod controllers;
mod engines;
mod limits;
mod podman;
mod rebuild;
mod rootless;
mod systemd;
mod units;

use firn_conformance::harness::skip;
use std::path::Path;

/// Whether cgroup v2 is all there is.
fn has_cgroup_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Says so where it is not.
fn lacks_cgroup_v2() -> bool {
    assert!(Path::new("/run/systemd/system").exists(), "these tests run in guests: cargo xtask vm");
    let lacks = !has_cgroup_v2();
    if lacks {
        skip("systemd has cgroup v1 on this machine");
    }
    lacks
}
