//! Where definitions come from: a file, a directory, standard input, or an expression.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file of a project.
pub const PROJECT_FILE: &str = "firn.toml";
/// The file that Nix takes a directory for.
const NIX_FILE: &str = "default.nix";
/// Definitions are text that people or Nix wrote.
const MOST: u64 = 64 << 20;

/// What the command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The project file of the working directory or of one above it.
    Project,
    /// A file, a system of NixOS that has containers, or a directory with a project file, a default.nix or JSON files.
    Path(PathBuf),
    /// JSON, or else Nix.
    Stdin,
    /// A Nix expression.
    Expression(String),
}

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Toml,
    Json,
    Nix,
    /// Of a container of NixOS.
    Conf,
    /// A directory of those.
    Confs,
}

/// A text to read definitions from.
#[derive(Debug)]
pub struct Text {
    /// How people know it.
    pub origin: String,
    pub content: String,
    pub language: Language,
    /// The file, where it is one.
    pub file: Option<PathBuf>,
    /// From where its relative paths count.
    pub directory: PathBuf,
}

impl Source {
    /// As on a command line: nothing is the project, `-` standard input.
    pub fn of(argument: Option<&Path>, expression: Option<&str>) -> Self {
        match (argument, expression) {
            (_, Some(expression)) => Source::Expression(expression.to_owned()),
            (None, None) => Source::Project,
            (Some(path), None) if path == Path::new("-") => Source::Stdin,
            (Some(path), None) => Source::Path(path.to_owned()),
        }
    }

    /// Reads it.
    pub fn read(&self) -> Result<Text> {
        let here = std::env::current_dir().context("find the working directory")?;
        match self {
            Source::Project => file(&find_project(&here)?),
            Source::Path(path) => match within(path)? {
                Some(found) => file(&found),
                None => match confs(path) {
                    Some(directory) => Ok(Text {
                        origin: path.display().to_string(),
                        content: String::new(),
                        language: Language::Confs,
                        file: None,
                        directory,
                    }),
                    None => directory(path),
                },
            },
            Source::Expression(expression) => Ok(Text {
                origin: "-E".into(),
                content: expression.clone(),
                language: Language::Nix,
                file: None,
                directory: here,
            }),
            Source::Stdin => {
                let content = text(std::io::stdin().lock()).context("read standard input")?;
                let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&content).is_ok();
                let language = if is_json { Language::Json } else { Language::Nix };
                Ok(Text { origin: "standard input".into(), content, language, file: None, directory: here })
            }
        }
    }
}

fn find_project(here: &Path) -> Result<PathBuf> {
    let found = here.ancestors().map(|dir| dir.join(PROJECT_FILE)).find(|file| file.is_file());
    let Some(file) = found else {
        bail!("there is no {PROJECT_FILE} in {} or above: name a file of definitions", here.display());
    };
    // As people would write it.
    Ok(file.strip_prefix(here).map(Path::to_owned).unwrap_or(file))
}

/// Where a system of NixOS, or its etc, has its containers.
fn confs(path: &Path) -> Option<PathBuf> {
    let places = ["etc/nixos-containers", "nixos-containers", "etc/containers", "containers"];
    let has_some = |directory: &PathBuf| {
        let mut names = std::fs::read_dir(directory).into_iter().flatten().flatten();
        names.any(|entry| entry.path().extension().is_some_and(|ending| ending == "conf"))
    };
    let found = places.map(|place| path.join(place)).into_iter().find(has_some)?;
    std::fs::canonicalize(found).ok()
}

/// The file that a path stands for; `None` for a directory of JSON files.
fn within(path: &Path) -> Result<Option<PathBuf>> {
    let what = || path.display().to_string();
    if !std::fs::metadata(path).with_context(what)?.is_dir() {
        return Ok(Some(path.to_owned()));
    }
    Ok([PROJECT_FILE, NIX_FILE].map(|name| path.join(name)).into_iter().find(|file| file.is_file()))
}

/// The files of a directory that end in .json, sorted.
pub fn json_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.with_context(|| format!("read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    Ok(files)
}

/// The JSON files of a directory as one project, as NixOS has it: a file for each definition.
fn directory(path: &Path) -> Result<Text> {
    let origin = path.display().to_string();
    let files = json_files(path)?;
    if files.is_empty() {
        bail!("directory {origin} has neither {PROJECT_FILE} nor {NIX_FILE} nor files that end in .json");
    }
    let mut containers = Map::new();
    for file in &files {
        let what = || format!("read {}", file.display());
        let content = std::fs::File::open(file).and_then(text).with_context(what)?;
        let project: BTreeMap<String, Map<String, Value>> = serde_json::from_str(&content).with_context(what)?;
        for (name, definition) in project.into_iter().filter(|(key, _)| key == "containers").flat_map(|(_, all)| all) {
            if containers.insert(name.clone(), definition).is_some() {
                bail!("{}: container {name} is in another file of {origin} already", file.display());
            }
        }
    }
    let full = std::path::absolute(path).with_context(|| origin.clone())?;
    let content = serde_json::json!({ "containers": containers }).to_string();
    Ok(Text { origin, content, language: Language::Json, file: Some(full.clone()), directory: full })
}

fn file(path: &Path) -> Result<Text> {
    let origin = path.display().to_string();
    let language = match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => Language::Toml,
        Some("json") => Language::Json,
        Some("nix") => Language::Nix,
        Some("conf") => Language::Conf,
        _ => bail!("{origin}: definitions are in a file that ends in .toml, .json, .nix or .conf (nixos-containers)"),
    };
    let content = std::fs::File::open(path).and_then(text).with_context(|| format!("read {origin}"))?;
    let full = std::path::absolute(path).with_context(|| origin.clone())?;
    let directory = full.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Text { origin, content, language, file: Some(full), directory })
}

fn text(from: impl Read) -> std::io::Result<String> {
    let mut content = String::new();
    from.take(MOST + 1).read_to_string(&mut content)?;
    match content.len() as u64 > MOST {
        true => Err(std::io::Error::other("more than 64 MiB of definitions")),
        false => Ok(content),
    }
}
