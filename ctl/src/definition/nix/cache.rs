//! Answers of Nix that are kept, each with what it depends on, and the systems that were built.

use super::inputs::{Inputs, Seen, hash};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What was not asked for this long is forgotten.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The version of the files.
const VERSION: u32 = 1;

/// A directory with a file for each question, and for each system a link that keeps it from being collected.
#[derive(Debug)]
pub struct Cache {
    /// None: nothing is kept.
    directory: Option<PathBuf>,
    pub seen: Seen,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    answer: String,
    inputs: Inputs,
}

impl Cache {
    pub fn new(directory: Option<&Path>) -> Self {
        Cache { directory: directory.map(Path::to_owned), seen: Seen::default() }
    }

    /// One that knows no answer and keeps none.
    pub fn without_answers(&self) -> Self {
        Cache::new(None)
    }

    /// The name of a question: all that is said to Nix.
    pub fn name(parts: &[&[u8]]) -> String {
        let lengths: Vec<[u8; 8]> = parts.iter().map(|part| part.len().to_ne_bytes()).collect();
        let all: Vec<&[u8]> = parts.iter().copied().chain(lengths.iter().map(<[u8; 8]>::as_slice)).collect();
        hash(&all)
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(format!("{name}.json")))
    }

    /// Whether answers are kept.
    pub fn keeps(&self) -> bool {
        self.directory.is_some()
    }

    /// The answer to a question that was asked before, where it would be the same now.
    pub fn answer(&self, name: &str) -> Option<String> {
        let path = self.file(name)?;
        let record: Record = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        if record.version != VERSION || !record.inputs.are_unchanged(&self.seen) {
            return None;
        }
        // When it was asked last; a cache that can't be written is read all the same.
        let _ = std::fs::File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(record.answer)
    }

    /// Keeps an answer.
    pub fn keep(&self, name: &str, answer: &str, inputs: Inputs) -> Result<()> {
        let (Some(directory), Some(path)) = (&self.directory, self.file(name)) else { return Ok(()) };
        let what = || format!("write {}", path.display());
        self.make()?;
        let record = Record { version: VERSION, answer: answer.into(), inputs };
        let text = serde_json::to_vec(&record).with_context(what)?;
        // Of this process and thread: others may keep the same.
        let temporary = directory.join(format!("{name}.{}", std::process::id()));
        std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path)).with_context(what)
    }

    /// The link to a system, in a directory that is there.
    pub fn link(&self, name: &str) -> Result<Option<PathBuf>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        self.make()?;
        Ok(Some(directory.join(format!("{name}.system"))))
    }

    /// Answers have what definitions say: for root alone.
    fn make(&self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.with_context(|| format!("create directory {}", directory.display()))
    }

    /// Forgets what was not asked for long. A system stays as long as the answer that names it; one whose
    /// answer was not kept is linked anew each time.
    pub fn clean(&self) {
        let entries = self.directory.as_ref().and_then(|directory| std::fs::read_dir(directory).ok());
        for path in entries.into_iter().flatten().flatten().map(|entry| entry.path()) {
            let is_answered =
                path.extension().is_some_and(|ending| ending == "system") && path.with_extension("json").exists();
            let time = std::fs::symlink_metadata(&path).and_then(|meta| meta.modified());
            let is_old = time.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT));
            if is_old && !is_answered {
                // What can't be removed now is tried again.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_while_they_are_asked_for() {
        let directory = std::env::temp_dir().join(format!("firnctl-cache-{}", std::process::id()));
        let cache = Cache::new(Some(&directory));
        for name in ["a", "b"] {
            cache.keep(name, "{}", Inputs::default()).unwrap();
            let old = SystemTime::now() - KEPT - Duration::from_secs(1);
            std::fs::File::options().append(true).open(cache.file(name).unwrap()).unwrap().set_modified(old).unwrap();
        }
        let link = cache.link("a").unwrap().unwrap();
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        // Inputs that say nothing of the environment are of another one.
        assert_eq!(cache.answer("a"), None);
        cache.clean();
        assert!(!cache.file("a").unwrap().exists() && !cache.file("b").unwrap().exists());
        assert!(link.is_symlink(), "it was linked just now");
        assert_ne!(Cache::name(&[b"ab", b"c"]), Cache::name(&[b"a", b"bc"]));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
