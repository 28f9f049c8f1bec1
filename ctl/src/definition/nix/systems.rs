//! The systems of containers with `config`: each is evaluated apart, as many at a time as there are
//! processors, and built.

use super::cache::Cache;
use super::expression::Expression;
use super::options::{Depth, NOT_EVALUATED, Options};
use super::program::{self, Answer};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A system that was evaluated.
#[derive(Debug, Clone, Deserialize)]
struct System {
    derivation: String,
    path: String,
    /// Its release, where that is also what its state is of.
    release: Option<String>,
}

/// The store paths of the containers' systems. Every error is told.
pub fn paths(expression: &Expression, names: &[String], options: &Options, cache: &Cache) -> Result<Vec<String>> {
    if options.depth == Depth::Names || names.is_empty() {
        return Ok(vec![NOT_EVALUATED.into(); names.len()]);
    }
    if options.depth == Depth::Built {
        eprintln!("Building containers...");
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..processors.min(names.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(index) else { return };
                    let result = one(expression, name, options, cache);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    let mut paths = Vec::new();
    let mut errors = Vec::new();
    for (_, result) in results {
        match result {
            Ok(path) => paths.push(path),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    match errors.as_slice() {
        [] => Ok(paths),
        _ => bail!("{}", errors.join("\nfirnctl: ")),
    }
}

fn one(expression: &Expression, name: &str, options: &Options, cache: &Cache) -> Result<String> {
    let ask = |state_version: Option<&str>, cache: &Cache| -> Result<(System, Answer)> {
        let answer = program::evaluate(expression, &expression.system(name, state_version), options, cache)
            .with_context(|| format!("container {name}: Nix can't evaluate its system"))?;
        let system =
            serde_json::from_str(&answer.text).with_context(|| format!("container {name}: read what Nix printed"))?;
        Ok((system, answer))
    };
    let evaluate = |cache: &Cache| -> Result<(System, Answer)> {
        let (system, answer) = ask(None, cache)?;
        match state_version(name, options) {
            Some(version) if system.release.as_deref().is_some_and(|release| release != version) => {
                ask(Some(version), cache)
            }
            _ => Ok((system, answer)),
        }
    };
    let (mut system, answer) = evaluate(cache)?;
    let link = cache.link(&answer.name)?;
    let is_there = |system: &System| link.as_ref().is_some_and(|link| leads_to(link, Path::new(&system.path)));
    if options.depth == Depth::Built && !(answer.is_kept && is_there(&system)) {
        if !Path::new(&system.derivation).exists() {
            // It was collected with the system.
            system = evaluate(&cache.without_answers())?.0;
        }
        program::build(&system.derivation, expression, link.as_deref(), options)
            .with_context(|| format!("container {name}: its system"))?;
    }
    Ok(system.path)
}

/// The release that the state of a container is of; of several, that of the first.
fn state_version<'a>(name: &str, options: &'a Options) -> Option<&'a str> {
    let versions = &options.state_versions;
    versions.get(name).or_else(|| versions.get(&format!("{name}-1"))).map(String::as_str)
}

/// Whether a link leads to a store path that is there.
fn leads_to(link: &Path, path: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|target| target == path) && path.exists()
}
