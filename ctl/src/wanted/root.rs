//! The arguments of `firn-image bundle`.

use crate::definition::paths;
use crate::definition::schema::Definition;
use crate::generation::{Container, Running};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a definition's links and references lead to now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Of a native container: the store path of its system.
    pub system: Option<PathBuf>,
    /// Of a foreign one: its directories.
    pub layers: Vec<PathBuf>,
}

/// Follows `path` and the layers; builds `flake`. Errors: what is not there.
pub fn resolve(definition: &Definition) -> Result<Resolved> {
    let real = |option: &str, path: &str| std::fs::canonicalize(path).with_context(|| format!("{option}: {path}"));
    let system = match (&definition.path, &definition.flake) {
        (Some(path), _) => Some(system_of(&real("path", path)?)?),
        (None, Some(flake)) => Some(build(flake)?),
        (None, None) => None,
    };
    let directories = definition.root_fs.iter().filter(|layer| !paths::is_image(layer));
    let layers = directories.map(|layer| directory(layer, real("rootFS", layer)?)).collect::<Result<_>>()?;
    Ok(Resolved { system, layers })
}

fn directory(option: &str, path: PathBuf) -> Result<PathBuf> {
    match path.is_dir() {
        true => Ok(path),
        false => bail!("rootFS: {option} is not a directory"),
    }
}

/// A profile is a link to a system; a link into one leads to the store path too.
fn system_of(path: &Path) -> Result<PathBuf> {
    if !path.join("init").exists() {
        bail!("path: {} has no init: it is not the system of a container", path.display());
    }
    if path.join("prepare-root").exists() {
        bail!(
            "path: {} is a system for a bare machine, which has no container's init: build it with boot.isContainer = true",
            path.display()
        );
    }
    Ok(path.to_owned())
}

/// Builds `URI#ATTRIBUTE`, a NixOS configuration.
fn build(flake: &str) -> Result<PathBuf> {
    let (uri, attribute) = flake.split_once('#').unwrap_or((flake, "container"));
    let installable = format!("{uri}#nixosConfigurations.\"{attribute}\".config.system.build.toplevel");
    let mut nix = Command::new("nix");
    nix.args(["--extra-experimental-features", "nix-command flakes", "build", "--no-link", "--json"]);
    let output = nix.arg(&installable).stderr(Stdio::inherit()).output().context("flake: run nix")?;
    if !output.status.success() {
        bail!("flake: nix could not build {installable}");
    }
    let built: serde_json::Value = serde_json::from_slice(&output.stdout).context("flake: read what nix printed")?;
    let path = built.pointer("/0/outputs/out").and_then(serde_json::Value::as_str);
    system_of(Path::new(path.context("flake: nix printed no path")?))
}

/// Everything after `firn-image`. `store_paths`: the list of the closures, where Nix is not to be asked.
pub fn arguments(container: &Container, run: &Running, bundle: &Path, store_paths: Option<&Path>) -> Vec<OsString> {
    let definition = &run.definition;
    let mut arguments: Vec<OsString> = vec!["bundle".into(), "--terminal".into()];
    let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
    option("--output", bundle.into());
    option("--hostname", definition.hostname.clone().unwrap_or_else(|| host_name(&container.name)).into());
    option("--upper", container.upper(definition).map_or("tmpfs".into(), Into::into));
    if let Some(store) = container.places().layer_store() {
        option("--layer-store", store.into());
    }
    // The first one's init is booted.
    run.system.iter().chain(&run.earlier_systems).for_each(|system| option("--closure", system.into()));
    if let Some(list) = store_paths {
        option("--store-paths", list.into());
    }
    run.layers.iter().for_each(|layer| option("--layer", layer.into()));
    for (name, value) in &definition.environment {
        option("--env", format!("{name}={value}").into());
    }
    if definition.nix_daemon {
        option("--env", "NIX_REMOTE=daemon".into());
    }
    // systemd and NixOS notify by themselves; what else does is said by the definition.
    if definition.notify.unwrap_or(run.system.is_some()) {
        arguments.push("--notify".into());
    }
    arguments.extend(definition.root_fs.iter().filter(|layer| paths::is_image(layer)).map(Into::into));
    arguments
}

/// A name may have `_` and 128 characters, a host name may not (RFC 1123).
fn host_name(name: &str) -> String {
    let mapped: String = name.chars().map(|c| if c == '_' { '-' } else { c }).take(63).collect();
    mapped.trim_matches(|c| c == '-' || c == '.').to_owned()
}
