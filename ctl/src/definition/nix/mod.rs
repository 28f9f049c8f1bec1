//! Definitions in Nix: evaluated by Nix to the JSON that the others are, and the systems of containers
//! with `config` built.
//!
//! The Nix that does it (`nix/eval/` of the source) is part of this program and given to Nix on its
//! standard input, so that nothing has to be found or installed for it.
//!
//! ```text
//! Text ─ expression ─ program (nix-instantiate, traced: what it asks for is known) ─ inputs ─ cache
//!                        └ systems (each container's apart, in parallel) ─ program (nix-build)
//! ```

mod cache;
mod expression;
mod inputs;
mod key;
mod options;
mod program;
pub mod store;
mod systems;
mod traced;

use super::document::{Document, Node};
use super::source::Text;
use anyhow::{Context, Result};
use cache::Cache;
use expression::Expression;
pub use options::{Depth, NOT_EVALUATED, Options};
use serde::Deserialize;
use std::path::Path;

/// What the expression is without its systems.
#[derive(Debug, Deserialize)]
struct Outline {
    definitions: serde_json::Value,
    /// The containers that have a system.
    systems: Vec<String>,
    /// Those of them that have `extra.enableSSH`.
    #[serde(default)]
    ssh: Vec<String>,
    /// Derivations and store paths that the definitions name.
    #[serde(default)]
    needs: Vec<String>,
}

/// Evaluates the text, which yields `{ containers.NAME = …; }` or is a module that does.
pub fn evaluate(text: &Text, options: &Options) -> Result<Document> {
    let expression = Expression::new(text, options, None)?;
    let cache = Cache::new(options.cache.as_deref());
    let outline = |cache: &Cache| -> Result<(Outline, String)> {
        let answer = program::evaluate(&expression, &expression.outline(), options, cache)
            .with_context(|| format!("{}: Nix can't evaluate it", text.origin))?;
        let read =
            serde_json::from_str(&answer.text).with_context(|| format!("{}: read what Nix printed", text.origin))?;
        Ok((read, answer.name))
    };
    let (mut outline, name) = match outline(&cache)? {
        // What they name was collected.
        (read, _) if read.needs.iter().any(|path| !Path::new(path).exists()) => outline(&cache.without_answers())?,
        read => read,
    };
    if options.depth == Depth::Built {
        for (index, path) in outline.needs.iter().enumerate() {
            let link = cache.link(&format!("{name}-{index}"))?;
            program::realise(path, &expression, link.as_deref(), options)
                .with_context(|| format!("{}: what it names", text.origin))?;
        }
    }
    let expression = match outline.ssh.as_slice() {
        [first, ..] if options.depth != Depth::Names => {
            let of = || format!("containers.{first}.extra.enableSSH");
            let key = options.ssh_key.as_deref().with_context(|| format!("{}: `firnctl create` makes a key", of()))?;
            Expression::new(text, options, Some(&key::public(key).with_context(of)?))?
        }
        _ => expression,
    };
    let paths = systems::paths(&expression, &outline.systems, options, &cache)?;
    for (name, path) in outline.systems.iter().zip(paths) {
        let containers = outline.definitions.get_mut("containers");
        if let Some(container) = containers.and_then(|all| all.get_mut(name)?.as_object_mut()) {
            container.insert("path".into(), path.into());
        }
    }
    cache.clean();
    Ok(Document { origin: text.origin.clone(), text: String::new(), root: Node::from_json(outline.definitions) })
}
