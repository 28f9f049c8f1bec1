//! Definitions: what containers shall be, as people write it.
//!
//! ```text
//! file, stdin, -E ─ source ─ toml | json | nix | conf ─ Document (values with places)
//!     ─ structure (JSON Schema, from schema) ─ Project ─ instances ─ check ─ paths ─ Loaded
//!                          └──────────── mistakes: all at once, each with its place
//! ```
//!
//! Nothing here asks the host what it has, but for the text itself and for Nix.

pub mod check;
pub mod conf;
pub mod document;
pub mod instances;
pub mod json;
pub mod mistake;
pub mod nix;
pub mod paths;
pub mod schema;
pub mod source;
pub mod structure;
pub mod toml;
pub mod values;

use crate::host::Owner;
use anyhow::{Context, Result};
use document::Document;
use instances::Instance;
use mistake::{Mistake, Mistakes};
use schema::Project;
use source::{Language, Source, Text};
use std::path::{Path, PathBuf};
use structure::Structure;

/// Definitions without a mistake.
#[derive(Debug)]
pub struct Loaded {
    /// How people know where they came from.
    pub origin: String,
    /// The file, where it was one; of a project its directory.
    pub file: Option<PathBuf>,
    /// Whether there may be other containers of the same project.
    pub is_part: bool,
    /// From where relative paths counted; all paths are absolute now.
    pub directory: PathBuf,
    pub project: Project,
    /// The containers that the definitions make.
    pub instances: Vec<Instance>,
}

/// Reads and checks definitions; `options` are those in Nix. An error that is [`Mistakes`] is the writer's: all of them.
/// In a `project` relative paths count from its directory, and the definitions are a part of it. The containers are
/// to be `owner`'s.
pub fn load(source: &Source, options: &nix::Options, project_directory: Option<&Path>, owner: Owner) -> Result<Loaded> {
    let text = source.read()?;
    let (origin, file, directory) = match project_directory {
        Some(directory) => (text.origin.clone(), Some(directory.to_owned()), directory.to_owned()),
        None => (text.origin.clone(), text.file.clone(), text.directory.clone()),
    };
    let document = parse(text, options)?;
    let (project, instances) = check(&document, owner)?;
    let project = paths::absolute(project, &directory);
    let instances = instances
        .into_iter()
        .map(|instance| Instance { definition: paths::of_definition(instance.definition, &directory), ..instance })
        .collect();
    let is_part = project_directory.is_some();
    Ok(Loaded { origin, file, is_part, directory, project, instances })
}

fn parse(text: Text, options: &nix::Options) -> Result<Document> {
    let read = match text.language {
        Language::Toml => toml::read(&text.origin, text.content),
        Language::Json => json::read(&text.origin, text.content),
        Language::Nix => return nix::evaluate(&text, options),
        Language::Confs => conf::read_all(&text.origin, &text.directory),
        Language::Conf => {
            let name = text.file.as_deref().and_then(Path::file_stem).unwrap_or_default();
            conf::read(&text.origin, &name.to_string_lossy(), text.content)
        }
    };
    read.map_err(|mistakes| match Mistakes::new(mistakes) {
        Some(mistakes) => mistakes.into(),
        None => anyhow::anyhow!("{}: can't be read", text.origin),
    })
}

/// Checks a container's definition by itself, after a change. Errors: [`Mistakes`].
pub fn check_one(name: &str, definition: &schema::Definition, owner: Owner) -> Result<()> {
    // Those that it waits for are not here.
    let definition = schema::Definition { depends_on: Vec::new(), ..definition.clone() };
    let json = serde_json::json!({"containers": {name: definition}});
    let root = document::Node::from_json(json);
    check(&Document { origin: "firnctl".into(), text: String::new(), root }, owner).map(drop)
}

/// What the structure allows goes on to the checks of meaning, so that one reading finds all.
fn check(document: &Document, owner: Owner) -> Result<(Project, Vec<Instance>)> {
    let json = document.root.to_json();
    let mut findings = Structure::new()?.findings(&json);
    let rest = structure::without(&json, &findings);
    let project: Project = serde_json::from_value(rest).context("read definitions that fit the schema")?;
    let instances = instances::expand(&project)?;
    // An option that is gone for its type is no option that is missing.
    let broken = |path: &document::Path| findings.iter().any(|finding| finding.path.starts_with(path));
    let meant: Vec<_> =
        check::findings(&instances, owner).into_iter().filter(|finding| !broken(&finding.path)).collect();
    findings.extend(meant);
    match Mistakes::new(findings.iter().map(|finding| Mistake::of(finding, document)).collect()) {
        Some(mistakes) => Err(mistakes.into()),
        None => Ok((project, instances)),
    }
}
