//! What has been done for a container, in files: written before it is done, so that `down` undoes that and
//! no more, whatever was killed. Each has a line for each step, and the last whole one counts; they are open
//! before the process is locked down.

use anyhow::{Context, Result};
use firn_network::message::{Network, times_file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An interface of the host that moves in, to be taken back, or one that was made inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Its name on the host, or, of one that was made, inside.
    pub name: String,
    /// Its index inside, which nobody there can change. `None`: it is about to move, and has its name still.
    pub index: Option<u32>,
    #[serde(default)]
    pub is_made: bool,
}

/// Begins the record of interfaces beside the message.
pub fn begin_moved(message: &Path) -> Result<File> {
    let path = moved_file(message);
    File::create(&path).with_context(|| format!("write {}", path.display()))
}

/// Begins the record of when the network was made.
pub fn begin_times(message: &Path) -> Result<File> {
    let path = times_file(message);
    File::create(&path).with_context(|| format!("write {}", path.display()))
}

/// The interfaces, with the last word on each.
pub fn moved(message: &Path) -> Result<Vec<Moved>> {
    let mut all: Vec<Moved> = Vec::new();
    for moved in lines::<Moved>(&moved_file(message))? {
        all.retain(|other| other.name != moved.name);
        all.push(moved);
    }
    Ok(all)
}

fn moved_file(message: &Path) -> PathBuf {
    message.with_extension("moved")
}

/// Begins, or goes on with, the record of networks whose elements are in the table.
pub fn open_rules(pin: &Path) -> Result<File> {
    let path = rules_file(pin);
    if let Some(directory) = path.parent() {
        let what = || format!("write {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(what)?;
    }
    append(&path)
}

/// Begins a record, or goes on with it.
pub fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.with_context(|| format!("write {}", path.display()))
}

/// The networks whose elements may be in the table; `None`: the container has never had any.
pub fn rules(pin: &Path) -> Result<Option<Vec<Network>>> {
    let path = rules_file(pin);
    Ok(path.exists().then_some(lines::<Vec<Network>>(&path)?.pop().unwrap_or_default()))
}

/// Forgets them.
pub fn forget_rules(pin: &Path) -> Result<()> {
    remove(&rules_file(pin))
}

/// Removes a record, where there is one.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether no other container has such a record: then the table is this one's alone.
pub fn is_last(pin: &Path) -> bool {
    let own = rules_file(pin);
    let entries = own.parent().and_then(|directory| std::fs::read_dir(directory).ok());
    !entries.into_iter().flatten().flatten().any(|entry| entry.path() != own)
}

/// In a directory beside that of the namespaces.
fn rules_file(pin: &Path) -> PathBuf {
    let directory = pin.parent().unwrap_or(Path::new("/")).with_extension("rules");
    directory.join(pin.file_name().unwrap_or_default())
}

/// A step, before it is made.
pub fn write<T: Serialize>(file: &mut File, step: &T) -> Result<()> {
    let text = serde_json::to_string(step).context("write JSON")?;
    file.write_all(format!("{text}\n").as_bytes()).context("record a step")
}

/// The lines of a record. One that is cut off was not followed by its step.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => {
            let text = result.with_context(|| format!("read {}", path.display()))?;
            Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
        }
    }
}
