//! `mounts`: adds mounts to a running container, and removes them.

use super::prepare;
use crate::bail;
use crate::error::{Context, Result};
use crate::join;
use crate::path::InRoot;
use crate::plan::mounts::{self, MountPlan, PlanContext};
use crate::spec::mount::Mount;
use crate::state::StateDir;
use crate::state::container::Container;
use std::path::Path;

/// Adds the mounts of `list` in order; after an error none of them remains.
pub fn add(root: &Path, id: &str, list: &[Mount]) -> Result<()> {
    with_container(root, id, list, |container, plans| join::mounts::add_mounts(container, &plans))
}

/// Unmounts the destinations of `list`, in reverse order.
pub fn remove(root: &Path, id: &str, list: &[Mount]) -> Result<()> {
    with_container(root, id, list, |container, plans| {
        let targets: Vec<InRoot> = plans.into_iter().rev().map(|plan| plan.target).collect();
        join::mounts::remove_mounts(container, &targets)
    })
}

/// Shows the closure of another bundle at /nix/store, in the place of the present one.
pub fn show_closure(root: &Path, id: &str, bundle: &Path) -> Result<()> {
    super::require_single_thread()?;
    let dir = StateDir::open(root, id)?;
    let container = Container::find(&dir, true)?;
    let what = || format!("bundle {}", bundle.display());
    let bundle = std::path::absolute(bundle).doing(what)?;
    let layered = prepare::read_firn_config(&bundle)?;
    match layered.and_then(|layered| layered.closure) {
        Some(closure) => join::mounts::replace_closure(&container, &closure),
        None => bail!("{}: its firn.json has no closure", what()),
    }
}

fn with_container(
    root: &Path,
    id: &str,
    list: &[Mount],
    act: impl FnOnce(&Container, Vec<MountPlan>) -> Result<()>,
) -> Result<()> {
    super::require_single_thread()?;
    // Locked, so that the container can't be deleted and created anew meanwhile.
    let dir = StateDir::open(root, id)?;
    let container = Container::find(&dir, true)?;
    let (bundle, rootfs) = (&container.record.bundle, &container.record.rootfs);
    let plans = mounts::plan(list, &PlanContext { bundle, rootfs, label: None, id_maps: None })?;
    act(&container, plans)
}
