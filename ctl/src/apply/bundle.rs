//! The bundle of a start: made by `firn-image`, then changed as the definition says.

use super::network;
use crate::definition::schema::Definition;
use crate::generation::{Container, Running, make_directory};
use crate::host::{Owner, program};
use crate::service::unit::Unit;
use crate::wanted::config::{Prepared, patch};
use crate::wanted::{self, devices, mounts, resources, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Finds what would be wrong with the bundle, but for what `firn-image` finds. Nothing is made.
pub fn check(container: &Container, run: &Running) -> Result<()> {
    devices::find(&run.definition)?;
    check_limits(container.places().owner(), &run.definition)?;
    network::check(container, &run.definition)?;
    check_sources(run)?;
    read_credentials(run).map(drop)
}

/// Makes a new bundle; its path. Errors come before anything is made, but for what `firn-image` finds.
pub fn make(container: &Container, run: &Running) -> Result<PathBuf> {
    let definition = &run.definition;
    let devices = devices::find(definition)?;
    network::check(container, definition)?;
    check_sources(run)?;
    let credentials = read_credentials(run)?;

    make_directory(&container.state_dir())?;
    if let Some(upper) = container.upper(definition) {
        make_root(&upper)?;
    }
    make_sources(run)?;
    let bundle = container.new_bundle()?;
    call_firn_image(container, run, &bundle)?;
    let resolv_conf = copy_resolv_conf(container, &bundle, run)?;
    let credentials = write_credentials(&bundle, &credentials, run.first_id)?;
    let registrar = match Unit::of(&container.name, container.places()) {
        Some(_) => Some(std::env::current_exe().context("find our own path")?),
        None => None,
    };
    let prepared = Prepared {
        devices,
        cgroup: container.places().cgroup(&container.name),
        first_id: run.first_id,
        resolv_conf: resolv_conf.as_deref(),
        network: network::hooks(container, definition)?,
        credentials: credentials.as_deref(),
        registrar: registrar.as_deref(),
    };
    change_config(&bundle.join("config.json"), |config| patch(config, definition, &prepared))?;
    Ok(bundle)
}

/// Limits are a cgroup's, and an ordinary user has none to give.
fn check_limits(owner: Owner, definition: &Definition) -> Result<()> {
    let limits = resources::of(definition);
    let names = [("memory", "memory"), ("cpu", "cpus"), ("pids", "pids")];
    let set: Vec<&str> = names.iter().filter(|(key, _)| limits.get(key).is_some()).map(|(_, option)| *option).collect();
    if owner == Owner::User && !set.is_empty() {
        bail!(
            "{}: an ordinary user's container has no cgroup of its own, and so no limits: leave them out, or run it as root",
            set.join(", ")
        );
    }
    Ok(())
}

/// What is bound must be there, or is to be made.
fn check_sources(run: &Running) -> Result<()> {
    let sources = mounts::of(&run.definition);
    let missing = sources.iter().filter(|mount| mount.kind == "bind" && !mount.create);
    let missing: Vec<&str> = missing.map(|mount| &*mount.source).filter(|source| !Path::new(source).exists()).collect();
    match missing.as_slice() {
        [] => Ok(()),
        [first, ..] => bail!(
            "the host has no {}, which is to be mounted: make it, or write create = true in bindMounts for a directory{}",
            missing.join(", "),
            if Path::new(first).is_relative() { "; paths count from the project's directory" } else { "" }
        ),
    }
}

/// Makes the directories that `create = true` asks for.
fn make_sources(run: &Running) -> Result<()> {
    for mount in mounts::of(&run.definition).iter().filter(|mount| mount.create) {
        std::fs::create_dir_all(&mount.source).with_context(|| format!("create directory {}", mount.source))?;
    }
    Ok(())
}

/// For root alone, though what is in it is the container's root: a set-uid program there must be no program
/// of the host's users (CVE-2021-41091).
pub fn make_root(upper: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(upper);
    made.and_then(|()| std::fs::set_permissions(upper, Permissions::from_mode(0o700)))
        .with_context(|| format!("create directory {}", upper.display()))
}

fn call_firn_image(container: &Container, run: &Running, bundle: &Path) -> Result<()> {
    let mut firn_image = Command::new(program("firn-image"));
    let store_paths = store_paths(container, run, bundle)?;
    firn_image
        .args(root::arguments(container, run, bundle, store_paths.as_deref()))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let output = firn_image.stderr(Stdio::piped()).output().context("run firn-image")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        bail!("firn-image: {}", said.strip_prefix("error: ").unwrap_or(said));
    }
    Ok(())
}

/// The list of the definition; with that of the present bundle, where earlier systems stay visible.
fn store_paths(container: &Container, run: &Running, bundle: &Path) -> Result<Option<PathBuf>> {
    let Some(list) = &run.definition.store_paths else { return Ok(None) };
    if run.earlier_systems.is_empty() {
        return Ok(Some(list.into()));
    }
    let present = container.bundle().join("closure");
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let both = [read(Path::new(list))?, b"\n".to_vec(), read(&present)?].concat();
    let path = bundle.with_file_name("store-paths");
    std::fs::write(&path, both).with_context(|| format!("write {}", path.display()))?;
    Ok(Some(path))
}

/// The host's, as it is now: a container that writes to its own does not change the host's. One with links of
/// its own asks firn's resolver, which knows the other containers, and asks those of the host.
fn copy_resolv_conf(container: &Container, bundle: &Path, run: &Running) -> Result<Option<PathBuf>> {
    if !run.definition.copy_resolv_conf.0 || !Path::new(RESOLV_CONF).exists() {
        return Ok(None);
    }
    let copy = bundle.with_file_name("resolv.conf");
    let mut text = std::fs::read(RESOLV_CONF).with_context(|| format!("copyResolvConf: read {RESOLV_CONF}"))?;
    if let Some(resolver) = network::resolver(container, &run.definition)? {
        text = wanted::network::resolv_conf(&String::from_utf8_lossy(&text), resolver).into_bytes();
    }
    std::fs::write(&copy, text).with_context(|| format!("write {}", copy.display()))?;
    Ok(Some(copy))
}

/// Names and contents.
fn read_credentials(run: &Running) -> Result<Vec<(String, Vec<u8>)>> {
    let read = |(name, source): (&String, &String)| {
        let text = std::fs::read(source).with_context(|| format!("credentials.{name}: read {source}"))?;
        Ok((name.clone(), text))
    };
    run.definition.credentials.iter().map(read).collect()
}

/// Below /run, which is in memory: they are on no disk. They belong to the container's root.
fn write_credentials(bundle: &Path, credentials: &[(String, Vec<u8>)], owner: Option<u32>) -> Result<Option<PathBuf>> {
    let directory = bundle.with_file_name("credentials");
    if credentials.is_empty() {
        return Ok(None);
    }
    make_directory(&directory)?;
    for (name, text) in credentials {
        let path = directory.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
        file.and_then(|mut file| file.write_all(text)).with_context(|| format!("write {}", path.display()))?;
    }
    for path in credentials.iter().map(|(name, _)| directory.join(name)).chain([directory.clone()]) {
        std::os::unix::fs::chown(&path, owner, owner)
            .with_context(|| format!("change the owner of {}", path.display()))?;
    }
    // The mount point, in what is mounted read-only at /run/host.
    let place = bundle.join("host/credentials");
    if place.parent().is_some_and(Path::exists) {
        std::fs::create_dir(&place).with_context(|| format!("create directory {}", place.display()))?;
    }
    Ok(Some(directory))
}

fn change_config(path: &Path, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let what = || path.display().to_string();
    let text = std::fs::read(path).with_context(what)?;
    let mut config: Value = serde_json::from_slice(&text).with_context(what)?;
    change(&mut config)?;
    let text = serde_json::to_vec_pretty(&config).with_context(what)?;
    std::fs::write(path, text).with_context(what)
}
