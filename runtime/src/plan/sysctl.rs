//! `linux.sysctl`: sysctls of the container's namespaces.

use super::namespaces::Namespaces;
use crate::bail;
use crate::error::Result;
use crate::spec::Spec;
use crate::spec::linux::Linux;
use crate::sys::clone;

const OF_IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The kind of namespace of a path below /proc/sys; None: a sysctl of the whole host.
pub fn namespace(path: &str) -> Option<u64> {
    let begins = |with| path.starts_with(with);
    let kinds = [
        (OF_IPC.contains(&path) || begins("fs/mqueue/"), clone::NEWIPC),
        (begins("net/"), clone::NEWNET),
        (path == "kernel/domainname", clone::NEWUTS),
        (begins("user/"), clone::NEWUSER),
    ];
    kinds.iter().find(|(is, _)| *is).map(|(_, kind)| *kind)
}

/// Paths and values. Only sysctls of namespaces of the config are allowed. Whether a joined
/// namespace is the host's is checked when the file is opened.
pub fn plan(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    let mut list = Vec::new();
    for (key, value) in &linux.sysctl {
        let path = path_of(key);
        let (is_host, is_domain) = (path == "kernel/hostname", path == "kernel/domainname");
        if is_host || (is_domain && !spec.domainname.is_empty() && *value != spec.domainname) {
            let field = if is_host { "hostname" } else { "domainname" };
            bail!("linux.sysctl: {key:?} is not allowed as it conflicts with the OCI {field:?} field");
        }
        let is_own = namespace(&path).is_some_and(|kind| namespaces.has(kind));
        if path.split('/').any(|part| part == ".." || part.is_empty()) || !is_own {
            bail!("linux.sysctl: {key:?} is not in a namespace of the container's own");
        }
        list.push((path, value.clone()));
    }
    Ok(list)
}

/// Either separator is accepted; the first one decides, because names of interfaces may have dots
/// (sysctl.d(5)).
fn path_of(key: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key.chars().map(swap).collect(),
        _ => key.to_owned(),
    }
}
