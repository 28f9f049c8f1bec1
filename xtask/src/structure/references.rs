//! What the documents name exists: source files, and tests by their file and name.

use crate::Result;
use crate::build::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Paths may begin here.
const ROOTS: [&str; 6] = ["", "runtime/src", "image/src", "shim/src", "conformance/src", "conformance/tests"];

/// Files and tests that a document names and that do not exist.
pub fn broken() -> Result<Vec<String>> {
    let mut documents = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    for entry in std::fs::read_dir(workspace().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        documents.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    let tests = tests()?;
    let mut files = BTreeSet::new();
    file_names(&workspace(), &mut files)?;
    let mut faults = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(workspace().join(&document))?;
        for word in quoted(&text) {
            if let Some(fault) = fault(word, &tests, &files) {
                faults.push(format!("{document}: `{word}`: {fault}"));
            }
        }
    }
    Ok(faults)
}

/// What stands between backticks, outside of blocks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.split("```").step_by(2).flat_map(str::lines);
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn fault(word: &str, tests: &Tests, files: &BTreeSet<String>) -> Option<&'static str> {
    if word.contains(|c: char| c.is_whitespace() || "*{<$".contains(c)) {
        return None;
    }
    let is_program = |name: &str| workspace().join("conformance/tests").join(name).is_dir();
    if let Some((file, name)) = word.split_once("::").filter(|(file, _)| file.ends_with(".rs") || is_program(file)) {
        let name = name.rsplit("::").next().unwrap_or(name);
        let file = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rs");
        let is_known = tests.get(file).is_some_and(|names| names.iter().any(|known| known.starts_with(name)));
        return (!is_known).then_some("no such test");
    }
    if !word.ends_with(".rs") {
        return None;
    }
    // A bare name stands beside a path.
    let exists = match word.contains('/') {
        true => ROOTS.iter().any(|root| workspace().join(root).join(word).exists()),
        false => files.contains(word),
    };
    (!exists).then_some("no such file")
}

fn file_names(directory: &Path, files: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            file_names(&path, files)?;
        } else if name.ends_with(".rs") {
            files.insert(name);
        }
    }
    Ok(())
}

/// The names of tests, by the file or the directory that is their program.
type Tests = BTreeMap<String, BTreeSet<String>>;

fn tests() -> Result<Tests> {
    let mut tests = Tests::new();
    for directory in ["conformance/tests", "image/tests", "image/init/tests", "shim/tests", "ctl/tests"] {
        let directory = workspace().join(directory);
        if directory.is_dir() {
            read(&directory, &[], &mut tests)?;
        }
    }
    Ok(tests)
}

fn read(directory: &Path, above: &[String], tests: &mut Tests) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
        if path.is_dir() {
            read(&path, &[above, &[stem]].concat(), tests)?;
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let functions = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn ")?.split('(').next());
        let functions: BTreeSet<String> = functions.map(String::from).collect();
        for program in above.iter().chain([&stem]) {
            tests.entry(program.clone()).or_default().extend(functions.iter().cloned());
        }
    }
    Ok(())
}
