//! What a schema can't say: texts within options, options that need or exclude each other, and
//! what several containers can't share. Pure: nothing is asked of the host.
//!
//! | module | checks |
//! |---|---|
//! | [`root`] | what the container is made of |
//! | [`network`] | addresses, links, ports |
//! | [`files`] | binds, volumes, tmpfs |
//! | [`rights`] | devices, capabilities, keys, environment |
//! | [`life`] | times, limits, order |
//! | [`together`] | names, addresses and ports that two containers would share |

mod files;
mod life;
mod network;
mod rights;
mod root;
mod together;

use super::document::{Path, Step};
use super::instances::Instance;
use super::mistake::Finding;

/// Everything that is wrong with the containers of a project.
pub fn findings(instances: &[Instance]) -> Vec<Finding> {
    let mut report = Report::default();
    for instance in instances {
        let mut container = report.container(&instance.definition_name);
        container.keep("", name(&instance.name));
        root::check(&instance.definition, &mut container);
        network::check(&instance.definition, &mut container);
        files::check(&instance.definition, &mut container);
        rights::check(&instance.definition, &mut container);
        life::check(&instance.definition, &mut container);
    }
    together::check(instances, &mut report);
    // Instances of one definition share its mistakes.
    let mut findings = report.findings;
    findings.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
    findings.dedup();
    findings
}

/// A name is a directory, part of a unit's name and of a host name.
fn name(name: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match name {
        "" => Err("a container needs a name".into()),
        "." | ".." => Err(format!("{name:?} can't be the name of a container: it is a directory's")),
        _ if name.starts_with('-') => {
            Err("the name of a container can't begin with '-': commands would read an option".into())
        }
        _ if name.len() > 128 => Err(format!("a name has at most 128 characters; this one has {}", name.len())),
        _ => match name.chars().find(|c| !is_good(*c)) {
            Some(bad) => {
                Err(format!("{bad:?} can't be in the name of a container: use letters, digits, '_', '.' and '-'"))
            }
            None => Ok(()),
        },
    }
}

/// Findings so far.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn container(&mut self, name: &str) -> Container<'_> {
        let base = vec![Step::Name("containers".into()), Step::Name(name.into())];
        Container { base, findings: &mut self.findings }
    }
}

/// Findings of one container, or of an option of it.
#[derive(Debug)]
pub struct Container<'a> {
    base: Path,
    findings: &'a mut Vec<Finding>,
}

impl Container<'_> {
    /// Of the option `name`; the container's own where it is empty.
    fn tell(&mut self, name: &str, message: impl Into<String>) {
        let mut path = self.base.clone();
        path.extend(name.split('.').filter(|part| !part.is_empty()).map(|part| Step::Name(part.into())));
        self.findings.push(Finding::new(&path, message));
    }

    /// The value, or its mistake told.
    fn keep<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.tell(name, message)).ok()
    }

    /// For what lies within an option: a name of a table or an item of a list.
    fn within(&mut self, option: &str, step: Step) -> Container<'_> {
        let mut base = self.base.clone();
        base.extend([Step::Name(option.into()), step]);
        Container { base, findings: self.findings }
    }
}

/// A path inside a container: absolute and without `..`.
fn inside(path: &str) -> Result<(), String> {
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
