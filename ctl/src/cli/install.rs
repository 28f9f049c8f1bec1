//! Definitions become installed containers.

use super::together;
use crate::apply::{hosts, keys};
use crate::definition::instances::Instance;
use crate::definition::nix::Options;
use crate::definition::source::{self, Source};
use crate::definition::{self, Loaded};
use crate::generation::{self, Container, Origin};
use crate::host::{Owner, Places};
use crate::service::files;
use crate::service::unit::Unit;
use crate::wanted::unit::requirements;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// Installs what was loaded, all or nothing as far as errors can be foreseen.
pub fn install(loaded: &Loaded, places: &Places) -> Result<Vec<Container>> {
    install_found(check(loaded, places)?, places)
}

/// Installs what the host's configuration declares, the JSON files of a directory, and nothing else of it: what
/// it declares no longer is not installed any more, and keeps its files.
pub fn declare(directory: &Path, places: &Places) -> Result<()> {
    // NixOS makes none where there are no containers.
    let loaded = match directory.exists() && !source::json_files(directory)?.is_empty() {
        true => Some(definition::load(&Source::Path(directory.to_owned()), &Options::default(), None, Owner::Root)?),
        false => None,
    };
    let full = std::path::absolute(directory).with_context(|| directory.display().to_string())?;
    let instances = loaded.as_ref().map_or(&[][..], |loaded| &loaded.instances);
    for container in made_by(&full, instances, places)? {
        let locked = container.lock()?;
        match locked.connect()? {
            None => locked.forget_wanted()?,
            Some(_) => eprintln!("firnctl: container {}: is not declared any more, and runs", container.name),
        }
    }
    let Some(loaded) = loaded else { return tell_host(places) };
    // One that can't be installed keeps none of the others.
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for instance in &loaded.instances {
        match owned(instance, &loaded, places) {
            Ok((container, instance, origin)) => {
                found.push((container, instance, Origin { is_declared: true, ..origin }));
            }
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    errors.extend(check_keys(&loaded, places).err().map(|error| format!("{error:#}")));
    install_found(found, places)?;
    if errors.is_empty() { Ok(()) } else { bail!("{}", errors.join("\nfirnctl: ")) }
}

fn install_found(found: Vec<(Container, &Instance, Origin)>, places: &Places) -> Result<Vec<Container>> {
    let mut containers = Vec::new();
    for (container, instance, origin) in found {
        let wanted = container.with_overrides(instance.definition.clone(), origin)?;
        // One that is as it shall be is not waited for.
        if container.wanted()?.as_ref() != Some(&wanted) {
            container.lock()?.install(&wanted)?;
        }
        containers.push(container.clone());
    }
    tell_host(places)?;
    Ok(containers)
}

/// Tells the host's systemd, name look-ups and sshd what is installed now: of containers of the machine.
pub fn tell_host(places: &Places) -> Result<()> {
    if places.owner() == Owner::User {
        return Ok(());
    }
    require_of_systemd(places)?;
    hosts::write(places)?;
    keys::write(places)
}

/// Has systemd start all that is installed at boot, and after what it depends on, where it runs them. What is not
/// installed is not waited for.
pub fn require_of_systemd(places: &Places) -> Result<()> {
    if !Unit::are_used(places) {
        return Ok(());
    }
    // Others do the same at the same time.
    let _lock = generation::lock(&places.hosts_lock())?;
    let all = generation::all(places)?;
    let installed: BTreeSet<&str> = all.iter().map(|container| &*container.name).collect();
    let waits = together::waits(&all);
    let mut has_changed = false;
    for container in &all {
        let Some(unit) = Unit::of(&container.name, places) else { continue };
        // Those of the host's configuration have units of it. One that can't be read is told where it is used.
        let Ok(Some(wanted)) = container.wanted() else { continue };
        if wanted.origin.is_declared {
            continue;
        }
        let others = waits.get(&container.name).into_iter().flatten();
        let others = others.filter(|other| installed.contains(&***other)).cloned().collect();
        has_changed |= files::require(&unit, &requirements(&wanted.definition, others))
            .with_context(|| format!("container {}: what systemd is told", container.name))?;
    }
    if has_changed { files::reload() } else { Ok(()) }
}

/// What would be installed. Errors: a container of another project, which is not
/// taken over.
pub fn check<'a>(loaded: &'a Loaded, places: &Places) -> Result<Vec<(Container, &'a Instance, Origin)>> {
    let mut found = Vec::new();
    for instance in &loaded.instances {
        found.push(owned(instance, loaded, places)?);
    }
    check_keys(loaded, places)?;
    Ok(found)
}

fn owned<'a>(instance: &'a Instance, loaded: &Loaded, places: &Places) -> Result<(Container, &'a Instance, Origin)> {
    let container = Container::new(&instance.name, places);
    let origin = Origin {
        file: loaded.file.clone(),
        definition_name: instance.number.map(|_| instance.definition_name.clone()),
        is_declared: false,
    };
    check_owner(&container, loaded)?;
    Ok((container, instance, origin))
}

fn check_keys(loaded: &Loaded, places: &Places) -> Result<()> {
    keys::check(places, loaded.instances.iter().map(|instance| (&*instance.name, &instance.definition)))
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
    match loaded.file.as_ref().filter(|_| !loaded.is_part) {
        Some(file) => made_by(file, &loaded.instances, places),
        None => Ok(Vec::new()),
    }
}

/// Containers that a file has made, but for these.
fn made_by(file: &Path, but: &[Instance], places: &Places) -> Result<Vec<Container>> {
    let mut made = Vec::new();
    for container in generation::all(places)? {
        let is_defined = but.iter().any(|instance| instance.name == container.name);
        if !is_defined && container.wanted()?.is_some_and(|wanted| wanted.origin.file.as_deref() == Some(file)) {
            made.push(container);
        }
    }
    Ok(made)
}
