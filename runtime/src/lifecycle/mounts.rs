//! `mounts`: mounts come into a container that runs, and go again.

use crate::error::Result;
use crate::join;
use crate::path::InRoot;
use crate::plan::mounts::{self, MountPlan, Surroundings};
use crate::spec::mount::Mount;
use crate::state::StateDir;
use crate::state::container::Container;
use std::path::Path;

/// Mounts all of `list`, in order, or none of it.
pub fn add(root: &Path, id: &str, list: &[Mount]) -> Result<()> {
    with_container(root, id, list, |container, plans| join::mounts::add(container, &plans))
}

/// Unmounts the destinations of `list`, the last first.
pub fn remove(root: &Path, id: &str, list: &[Mount]) -> Result<()> {
    with_container(root, id, list, |container, plans| {
        let targets: Vec<InRoot> = plans.into_iter().rev().map(|plan| plan.target).collect();
        join::mounts::remove(container, &targets)
    })
}

fn with_container(
    root: &Path,
    id: &str,
    list: &[Mount],
    act: impl FnOnce(&Container, Vec<MountPlan>) -> Result<()>,
) -> Result<()> {
    super::need_one_thread()?;
    // Locked: it stays the same container until this is done.
    let dir = StateDir::open(root, id)?;
    let container = Container::find(&dir, true)?;
    let (bundle, rootfs) = (&container.record.bundle, &container.record.rootfs);
    let plans = mounts::plan(list, &Surroundings { bundle, rootfs, label: None, id_maps: None })?;
    act(&container, plans)
}
