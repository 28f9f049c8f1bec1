//! Generations: what has run, numbered from 1. The last ten are kept, with what they need of the Nix
//! store.

use super::files;
use super::record::Running;
use crate::definition::schema::Definition;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// So many are kept.
const KEPT: usize = 10;

/// The directory of a container's generations.
#[derive(Debug)]
pub struct History(PathBuf);

/// What has run once.
#[derive(Debug, Clone)]
pub struct Generation {
    pub number: u32,
    /// As it was started, or was changed to.
    pub run: Running,
    /// When it first ran.
    pub since: std::time::SystemTime,
}

impl History {
    pub fn new(directory: &Path) -> Self {
        History(directory.to_owned())
    }

    /// The generations that are kept, the oldest first.
    pub fn list(&self) -> Result<Vec<Generation>> {
        let what = || format!("read {}", self.0.display());
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.with_context(what)?,
        };
        let mut list = Vec::new();
        for entry in entries {
            let path = entry.with_context(what)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let (Some(number), true) = (number, path.extension().is_some_and(|ending| ending == "json")) else {
                continue;
            };
            let since = std::fs::metadata(&path).and_then(|meta| meta.modified()).with_context(what)?;
            list.extend(files::read(&path)?.map(|run| Generation { number, run, since }));
        }
        list.sort_by_key(|generation| generation.number);
        Ok(list)
    }

    /// The number of what is about to run. It is a new one unless the last generation is the same.
    /// What it needs of the Nix store is not collected from now on.
    pub fn record(&self, mut run: Running) -> Result<Running> {
        let list = self.list()?;
        let last = list.last();
        run.is_changing = false;
        run.generation = last.map_or(0, |last| last.number);
        // What it still sees of earlier ones is no part of it.
        let kept = Running { earlier_systems: Vec::new(), ..run.clone() };
        if last.is_some_and(|last| last.run == kept) {
            return Ok(run);
        }
        run.generation += 1;
        let kept = Running { generation: run.generation, ..kept };
        files::make_directory(&self.0)?;
        if let Some(system) = &run.system {
            root(system, &self.0.join(run.generation.to_string()))?;
        }
        for (index, path) in named(&run.definition)?.iter().enumerate() {
            root(path, &self.0.join(format!("{}.{index}", run.generation)))?;
        }
        files::write(&self.0.join(format!("{}.json", run.generation)), &kept)?;
        for old in list.iter().rev().skip(KEPT - 1) {
            for index in 0..named(&old.run.definition)?.len() {
                files::remove(&self.0.join(format!("{}.{index}", old.number)))?;
            }
            files::remove(&self.0.join(format!("{}.json", old.number)))?;
            files::remove(&self.0.join(old.number.to_string()))?;
        }
        Ok(run)
    }
}

/// The store paths that a definition names, as `storePaths` and `hostPath` do: a text that begins with one.
fn named(definition: &Definition) -> Result<BTreeSet<PathBuf>> {
    fn collect(value: &Value, paths: &mut BTreeSet<PathBuf>) {
        match value {
            Value::String(text) => {
                let name = text.strip_prefix("/nix/store/").and_then(|rest| rest.split(['/', ':']).next());
                paths.extend(name.filter(|name| !name.is_empty()).map(|name| Path::new("/nix/store").join(name)));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, paths)),
            Value::Object(members) => members.values().for_each(|member| collect(member, paths)),
            _ => {}
        }
    }
    let mut paths = BTreeSet::new();
    collect(&serde_json::to_value(definition).context("what a definition names of the store")?, &mut paths);
    Ok(paths)
}

/// Makes a garbage collector root of Nix, where there is a store that is collected.
fn root(system: &Path, link: &Path) -> Result<()> {
    if !Path::new("/nix/var/nix/db").exists() || !system.starts_with("/nix/store") || !system.exists() {
        return Ok(());
    }
    let mut nix = Command::new("nix-store");
    nix.arg("--add-root").arg(link).args(["--indirect", "--realise"]).arg(system);
    let output = match nix.output() {
        // A store without Nix is not collected either.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.context("run nix-store")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("keep {} from being collected: nix-store: {}", system.display(), said.trim());
    }
    Ok(())
}
