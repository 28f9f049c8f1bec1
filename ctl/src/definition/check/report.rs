//! What the checks have found.

use crate::definition::document::{Path, Step};
use crate::definition::mistake::Finding;

/// Findings so far.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn container(&mut self, name: &str) -> Container<'_> {
        let base = vec![Step::Name("containers".into()), Step::Name(name.into())];
        Container { base, findings: &mut self.findings }
    }
}

/// Findings of one container, or of an option of it.
#[derive(Debug)]
pub struct Container<'a> {
    pub base: Path,
    findings: &'a mut Vec<Finding>,
}

impl Container<'_> {
    /// Of the option `name`; the container's own where it is empty.
    pub fn tell(&mut self, name: &str, message: impl Into<String>) {
        let mut path = self.base.clone();
        path.extend(name.split('.').filter(|part| !part.is_empty()).map(|part| Step::Name(part.into())));
        self.findings.push(Finding::new(&path, message));
    }

    /// The value, or its mistake told.
    pub fn keep<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.tell(name, message)).ok()
    }

    /// For what lies within an option: a name of a table or an item of a list.
    pub fn within(&mut self, option: &str, step: Step) -> Container<'_> {
        let mut base = self.base.clone();
        base.extend([Step::Name(option.into()), step]);
        Container { base, findings: self.findings }
    }
}

/// A path inside a container: absolute and without `..`.
pub fn inside(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} must be an absolute path in the container"));
    }
    if path.contains('\0') {
        return Err(format!("{path:?}: a path has no NUL byte"));
    }
    match path.split('/').any(|part| part == "..") {
        true => Err(format!("{path:?} must have no \"..\"")),
        false => Ok(()),
    }
}
