//! What is wrong with a definition. All of it is found at once, and each says where.

use super::document::{Document, Path, Position, Step, display_path};
use std::fmt;

/// One mistake, before anybody has looked up where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of the value that is wrong.
    pub path: Path,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Finding {
    pub fn new(path: &[Step], message: impl Into<String>) -> Self {
        Finding { path: path.to_vec(), message: message.into() }
    }
}

/// A mistake as it is told: `FILE:LINE:COLUMN: OBJECT: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub origin: String,
    pub position: Option<Position>,
    /// `containers.web.hostAddress`; empty where the text itself can't be read.
    pub object: String,
    pub message: String,
}

impl Mistake {
    pub fn of(finding: &Finding, document: &Document) -> Self {
        Mistake {
            origin: document.origin.clone(),
            position: document.position(&finding.path),
            object: display_path(&finding.path),
            message: finding.message.clone(),
        }
    }

    /// Of a text that is not of its language, at a byte of it.
    pub fn of_text(origin: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let position = Some(Position::of(text, offset));
        Mistake { origin: origin.to_owned(), position, object: String::new(), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.origin)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.object.is_empty() {
            write!(f, " {}:", self.object)?;
        }
        write!(f, " {}", self.message)
    }
}

/// All mistakes of a file, sorted by their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// None where there are none.
    pub fn new(mut mistakes: Vec<Mistake>) -> Option<Self> {
        mistakes.sort();
        mistakes.dedup();
        (!mistakes.is_empty()).then_some(Mistakes(mistakes))
    }

    pub fn list(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// The name of `known` that was probably meant by `given`.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let best = known.into_iter().map(|name| (distance(name), name)).min()?;
    // A third of the letters may be wrong; of two-letter names none.
    (best.0 <= given.chars().count().max(best.1.chars().count()) / 3).then_some(best.1)
}

/// ` (did you mean NAME?)`, or nothing.
pub fn hint<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_is_near() {
        let known = ["hostAddress", "hostAddress6", "hostBridge", "path"];
        assert_eq!(nearest("hostAdress", known), Some("hostAddress"));
        assert_eq!(nearest("hostaddress", known), Some("hostAddress"));
        assert_eq!(nearest("hsotBridge", known), Some("hostBridge"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", known), None);
    }
}
