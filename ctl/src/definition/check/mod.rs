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
//! | [`rootless`] | what an ordinary user's container can't have |
//! | [`together`] | names, addresses and ports that two containers would share |

mod files;
mod life;
pub mod network;
mod report;
mod rights;
mod root;
mod rootless;
mod together;

use super::instances::Instance;
use super::mistake::Finding;
use crate::host::Owner;
use report::Report;

/// Everything that is wrong with the containers of a project.
pub fn findings(instances: &[Instance], owner: Owner) -> Vec<Finding> {
    let mut report = Report::default();
    for instance in instances {
        let mut container = report.container(&instance.definition_name);
        container.keep("", name(&instance.name));
        root::check(&instance.definition, &mut container);
        network::check(&instance.definition, owner, &mut container);
        files::check(&instance.definition, &mut container);
        rights::check(&instance.definition, &mut container);
        life::check(&instance.definition, &mut container);
        if owner == Owner::User {
            rootless::check(&instance.definition, &mut container);
        }
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
