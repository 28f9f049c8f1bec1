//! Lists of store paths, in every form in which Nix and nixpkgs write them, and the references that
//! they have.
//!
//! | Form | Written by | References |
//! |---|---|---|
//! | one path a line | `nix-store --query --requisites`, closureInfo's `store-paths` | no |
//! | registration | `nix-store --dump-db`, closureInfo's `registration` | yes |
//! | graph | `exportReferencesGraph` | yes |
//! | JSON | `nix path-info --json --recursive`, `exportReferencesGraph` with structured attributes | yes |

use super::store_path::{StorePath, StorePathError};
use serde_json::Value;

/// A line's or entry's store path and what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: StorePath,
    /// `None` where the form has no references.
    pub(super) references: Option<Vec<StorePath>>,
    /// From 1; 0 in JSON.
    pub(super) line: usize,
}

/// Why a list can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error("line {line}")]
    Path { line: usize, source: StorePathError },
    #[error("line {0}: a number of references is expected")]
    Count(usize),
    #[error("line {0}: the list ends in the middle of an entry: is it cut off?")]
    Short(usize),
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    #[error("not JSON of nix path-info: {0}")]
    Shape(&'static str),
    #[error("store path")]
    JsonPath(#[source] StorePathError),
}

/// Reads a list in any form.
pub(super) fn parse(text: &str) -> Result<Vec<Listed>, ListError> {
    if text.trim_start().starts_with(['[', '{']) {
        return parse_json(text);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_number = |at: usize| lines.get(at).is_some_and(|line| line.parse::<u32>().is_ok());
    // The second line of a registration is a hash, of a graph a deriver; a number follows.
    if is_number(2) {
        let hashed = lines[1].split_once(':').is_some_and(|(algorithm, _)| algorithm == "sha256") || is_hex(lines[1]);
        return parse_records(&lines, if hashed { 4 } else { 2 });
    }
    let lines = lines.iter().zip(1..).filter(|(line, _)| !line.is_empty());
    lines.map(|(text, line)| Ok(Listed { path: parse_path(text, line)?, references: None, line })).collect()
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn parse_path(text: &str, line: usize) -> Result<StorePath, ListError> {
    StorePath::parse(text).map_err(|source| ListError::Path { line, source })
}

/// Entries of a path, `before - 1` further lines, a number, and as many references.
fn parse_records(lines: &[&str], before: usize) -> Result<Vec<Listed>, ListError> {
    let mut listed = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].is_empty() {
            at += 1;
            continue;
        }
        let line = at + 1;
        let path = parse_path(lines[at], line)?;
        at += before;
        let count = lines.get(at).ok_or(ListError::Short(line))?;
        let count: usize = count.parse().map_err(|_| ListError::Count(at + 1))?;
        at += 1;
        let end = at.checked_add(count).filter(|end| *end <= lines.len()).ok_or(ListError::Short(line))?;
        let references = (at..end).map(|at| parse_path(lines[at], at + 1)).collect::<Result<_, _>>()?;
        listed.push(Listed { path, references: Some(references), line });
        at = end;
    }
    Ok(listed)
}

/// An array of objects with their paths, or, since Nix 2.19, an object by path.
fn parse_json(text: &str) -> Result<Vec<Listed>, ListError> {
    let entries: Vec<(String, Value)> = match serde_json::from_str(text)? {
        Value::Array(entries) => entries
            .into_iter()
            .map(|entry| {
                let path = entry["path"].as_str().ok_or(ListError::Shape("an entry has no path"))?;
                Ok((path.to_owned(), entry))
            })
            .collect::<Result<_, ListError>>()?,
        Value::Object(entries) => entries.into_iter().collect(),
        _ => return Err(ListError::Shape("neither an array nor an object")),
    };
    let parse = |text: &str| StorePath::parse(text).map_err(ListError::JsonPath);
    let listed = entries.iter().map(|(path, entry)| {
        let references = entry["references"].as_array().ok_or(ListError::Shape("an entry has no references"))?;
        let references = references
            .iter()
            .map(|reference| parse(reference.as_str().ok_or(ListError::Shape("a reference is no text"))?));
        Ok(Listed { path: parse(path)?, references: Some(references.collect::<Result<_, _>>()?), line: 0 })
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(letter: &str) -> String {
        format!("/nix/store/{}-{letter}", letter.repeat(32))
    }

    fn summary(text: &str) -> String {
        let name = |path: &StorePath| path.base()[33..].to_owned();
        let entry = |listed: &Listed| {
            let references = listed.references.as_ref().map(|all| all.iter().map(name).collect::<Vec<_>>().join(","));
            format!("{}>{}", name(&listed.path), references.unwrap_or("?".into()))
        };
        parse(text).unwrap().iter().map(entry).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_form_is_known_by_its_lines() {
        let (a, b) = (path("a"), path("b"));
        let hash = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
        assert_eq!(summary(&format!("{a}\n\n{b}\n")), "a>? b>?");
        assert_eq!(summary(&format!("{b}\n{a}\n\n")), "b>? a>?");
        assert_eq!(summary(&format!("{a}\n{hash}\n120\n\n2\n{a}\n{b}\n{b}\n{hash}\n8\n{a}\n0\n")), "a>a,b b>");
        assert_eq!(summary(&format!("{a}\n{}\n120\n\n0\n", "0f".repeat(32))), "a>");
        assert_eq!(summary(&format!("{a}\n\n1\n{b}\n{b}\n{a}\n0\n")), "a>b b>");
        assert_eq!(summary(&format!(r#"[{{"path":"{a}","references":["{b}"]}}]"#)), "a>b");
        assert_eq!(summary(&format!(r#"{{"{a}":{{"references":["{b}"]}}}}"#)), "a>b");
        assert_eq!(summary(""), "");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let a = path("a");
        for wrong in [
            format!("{a}\n\n2\n{a}\n"),
            format!("{a}\n\n0\n{a}\n"),
            format!("{a}\n\n0\nx\n\n0\n"),
            format!("{a}\nx\n"),
            format!("{a}\n\n0\n{a}\n\nx\n"),
            format!("[{{\"path\":\"{a}\"}}]"),
            "[".into(),
            "{\"x\":{\"references\":[]}}".into(),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }
}
