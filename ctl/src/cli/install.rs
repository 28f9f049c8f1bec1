//! Definitions become installed containers.

use super::together;
use crate::apply::{hosts, keys};
use crate::definition::Loaded;
use crate::definition::instances::Instance;
use crate::generation::{self, Container, Origin};
use crate::host::Places;
use crate::service::files;
use crate::service::unit::Unit;
use crate::wanted::unit::requirements;
use crate::wanted::unsupported;
use anyhow::{Context, Result, bail};

/// Installs what was loaded, all or nothing as far as errors can be foreseen.
pub fn install(loaded: &Loaded, places: &Places) -> Result<Vec<Container>> {
    let mut containers = Vec::new();
    for (container, instance, origin) in check(loaded, places)? {
        let _locked = container.lock()?;
        let is_new = container
            .wanted()?
            .is_none_or(|wanted| wanted.definition != instance.definition || wanted.origin != origin);
        if is_new {
            container.install(&instance.definition, &origin)?;
        }
        containers.push(container.clone());
    }
    tell_host(&containers, places)?;
    Ok(containers)
}

/// Tells the host's systemd, name look-ups and sshd what is installed now.
pub fn tell_host(containers: &[Container], places: &Places) -> Result<()> {
    require_of_systemd(containers, places)?;
    hosts::write(places)?;
    keys::write(places)
}

/// Has systemd start them at boot, and after what they depend on, where it runs them.
fn require_of_systemd(containers: &[Container], places: &Places) -> Result<()> {
    let with_units = containers.iter().filter_map(|container| Some((container, Unit::of(&container.name, places)?)));
    let with_units: Vec<_> = with_units.collect();
    if with_units.is_empty() {
        return Ok(());
    }
    let waits = together::waits(&generation::all(places)?);
    for (container, unit) in with_units {
        let Some(wanted) = container.wanted()? else { continue };
        let others = waits.get(&container.name).into_iter().flatten().cloned().collect();
        files::require(&unit, &requirements(&wanted.definition, others))
            .with_context(|| format!("container {}: what systemd is told", container.name))?;
    }
    Ok(())
}

/// What would be installed. Errors: an option without effect; a container of another project, which is not
/// taken over.
pub fn check<'a>(loaded: &'a Loaded, places: &Places) -> Result<Vec<(Container, &'a Instance, Origin)>> {
    let mut found = Vec::new();
    for instance in &loaded.instances {
        unsupported::refuse(&instance.name, &instance.definition)?;
        let container = Container::new(&instance.name, places);
        let origin = Origin {
            file: loaded.file.clone(),
            definition_name: instance.number.map(|_| instance.definition_name.clone()),
        };
        check_owner(&container, loaded)?;
        found.push((container, instance, origin));
    }
    keys::check(places, loaded.instances.iter().map(|instance| (&*instance.name, &instance.definition)))?;
    Ok(found)
}

/// Errors: it belongs to another project that is still there.
pub fn check_owner(container: &Container, loaded: &Loaded) -> Result<()> {
    if let Some(wanted) = container.wanted()?
        && let (Some(other), Some(file)) = (&wanted.origin.file, &loaded.file)
        && other != file
        && other.exists()
    {
        bail!("container {}: belongs to {}; give this one another name", container.name, other.display());
    }
    Ok(())
}

/// Containers that the project's file made once, and no longer defines.
pub fn orphans(loaded: &Loaded, places: &Places) -> Result<Vec<Container>> {
    let Some(file) = &loaded.file else { return Ok(Vec::new()) };
    let mut orphans = Vec::new();
    for container in generation::all(places)? {
        let is_defined = loaded.instances.iter().any(|instance| instance.name == container.name);
        if !is_defined && container.wanted()?.is_some_and(|wanted| wanted.origin.file.as_ref() == Some(file)) {
            orphans.push(container);
        }
    }
    Ok(orphans)
}
