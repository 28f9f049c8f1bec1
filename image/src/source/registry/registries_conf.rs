//! From where a registry's images are fetched: registries.conf (containers-registries.conf(5), version
//! 2), with its mirrors, other locations, plain HTTP and blocks.

use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A place that has a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub(crate) registry: String,
    pub(crate) repository: String,
    /// Plain HTTP is allowed.
    pub(crate) insecure: bool,
}

/// Why there are no endpoints.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistriesError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("parse {path}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("{path}: location {location:?} is no registry with an optional path")]
    Location { path: PathBuf, location: String },
    #[error("{registry}/{repository} is blocked by {path}")]
    Blocked { registry: String, repository: String, path: PathBuf },
}

/// The registries of all files. A later file's entry stands for an earlier one with the same prefix.
#[derive(Debug, Default)]
pub(crate) struct Registries(Vec<(PathBuf, Entry)>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Entry>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFrom,
}

/// For which references a mirror serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFrom {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

impl Registries {
    /// Reads the files that there are: $CONTAINERS_REGISTRIES_CONF alone, else the user's or the
    /// system's, and the directories beside them.
    pub(crate) fn read() -> Result<Self, RegistriesError> {
        let mut registries = Self::default();
        for path in files() {
            match fs::read_to_string(&path) {
                Ok(text) => registries.add(&path, &text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RegistriesError::Read { path, source }),
            }
        }
        Ok(registries)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), RegistriesError> {
        let failed = |message| RegistriesError::Parse { path: path.to_owned(), message };
        let file: File = toml::from_str(text).map_err(|error| failed(error.to_string()))?;
        for entry in file.registry {
            if entry.prefix.is_none() && entry.location.is_none() {
                return Err(failed("a [[registry]] has neither a prefix nor a location".into()));
            }
            self.0.retain(|(_, known)| known.pattern() != entry.pattern());
            self.0.push((path.to_owned(), entry));
        }
        Ok(())
    }

    /// Where to fetch `repository` of `registry` from, in order: mirrors, then the registry itself or
    /// what stands for it. `by_digest`: the reference has a digest.
    pub(crate) fn endpoints(
        &self,
        registry: &str,
        repository: &str,
        by_digest: bool,
    ) -> Result<Vec<Endpoint>, RegistriesError> {
        let name = format!("{registry}/{repository}");
        let matching = self.0.iter().filter_map(|found| Some((found.1.matched(&name)?, found)));
        let Some((length, (path, entry))) = matching.max_by_key(|(length, _)| *length) else {
            return Ok(vec![Endpoint { registry: registry.into(), repository: repository.into(), insecure: false }]);
        };
        if entry.blocked {
            let (registry, repository) = (registry.to_owned(), repository.to_owned());
            return Err(RegistriesError::Blocked { registry, repository, path: path.clone() });
        }
        let rest = &name[length..];
        let mirrors = entry.mirror.iter().filter(|mirror| match mirror.pull_from_mirror {
            PullFrom::All => by_digest || !entry.mirror_by_digest_only,
            PullFrom::DigestOnly => by_digest,
            PullFrom::TagOnly => !by_digest,
        });
        let places = mirrors.map(|mirror| (mirror.location.clone() + rest, mirror.insecure));
        let own = match &entry.location {
            Some(location) if !entry.is_wildcard() => location.clone() + rest,
            _ => name.clone(),
        };
        places.chain([(own, entry.insecure)]).map(|(place, insecure)| split(&place, insecure, path)).collect()
    }

    /// Where images of `repository` of `registry` are sent to: never to a mirror.
    pub(crate) fn origin(&self, registry: &str, repository: &str) -> Result<Endpoint, RegistriesError> {
        let own = self.endpoints(registry, repository, false)?.pop();
        Ok(own.unwrap_or_else(|| Endpoint {
            registry: registry.into(),
            repository: repository.into(),
            insecure: false,
        }))
    }
}

impl Entry {
    fn pattern(&self) -> &str {
        self.prefix.as_deref().or(self.location.as_deref()).unwrap_or_default()
    }

    fn is_wildcard(&self) -> bool {
        self.pattern().starts_with("*.")
    }

    /// How much of `name` its prefix stands for, which ends at a slash or at the end.
    fn matched(&self, name: &str) -> Option<usize> {
        let pattern = self.pattern();
        let length = match pattern.strip_prefix('*') {
            Some(domain) => {
                let host = name.split('/').next().unwrap_or_default();
                let is_below = host.len() > domain.len() && host.ends_with(domain) && domain.starts_with('.');
                return is_below.then_some(host.len());
            }
            None => pattern.len(),
        };
        let rest = name.strip_prefix(pattern)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(length)
    }
}

fn split(place: &str, insecure: bool, path: &Path) -> Result<Endpoint, RegistriesError> {
    match place.split_once('/') {
        Some((registry, repository)) if !registry.is_empty() && !repository.is_empty() => {
            Ok(Endpoint { registry: registry.into(), repository: repository.into(), insecure })
        }
        _ => Err(RegistriesError::Location { path: path.to_owned(), location: place.to_owned() }),
    }
}

fn files() -> Vec<PathBuf> {
    const NAME: &str = "registries.conf";
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("CONTAINERS_REGISTRIES_CONF") {
        return vec![file];
    }
    let home = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let system = PathBuf::from("/etc/containers");
    let own = home.map(|directory| directory.join("containers"));
    let main = own.as_ref().map(|directory| directory.join(NAME)).filter(|file| file.exists());
    let mut files = vec![main.unwrap_or_else(|| system.join(NAME))];
    for directory in [Some(system), own].into_iter().flatten() {
        let entries = fs::read_dir(directory.join("registries.conf.d")).into_iter().flatten().flatten();
        let mut added: Vec<_> = entries.map(|entry| entry.path()).collect();
        added.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        added.sort();
        files.extend(added);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.example:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "digests.example"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library/secret"
        blocked = true
        [[registry]]
        prefix = "old.example/team"
        location = "new.example/group"
        [[registry]]
        prefix = "*.local.example"
        insecure = true
    "#;

    fn places(name: &str, by_digest: bool) -> Result<Vec<String>, String> {
        let mut registries = Registries::default();
        registries.add(Path::new("registries.conf"), CONF).unwrap();
        let (registry, repository) = name.split_once('/').unwrap();
        let found = registries.endpoints(registry, repository, by_digest).map_err(|error| error.to_string())?;
        let text = |place: Endpoint| {
            format!("{}/{}{}", place.registry, place.repository, if place.insecure { "!" } else { "" })
        };
        Ok(found.into_iter().map(text).collect())
    }

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_counts() {
        let places = |name: &str, by_digest| places(name, by_digest).unwrap();
        assert_eq!(places("docker.io/library/a", false), ["mirror.example:5000/hub/library/a!", "docker.io/library/a"]);
        assert_eq!(places("docker.io/b", true), ["mirror.example:5000/hub/b!", "digests.example/b", "docker.io/b"]);
        assert_eq!(places("old.example/team/x/y", false), ["new.example/group/x/y"]);
        assert_eq!(places("old.example/teams/x", false), ["old.example/teams/x"]);
        assert_eq!(places("a.local.example/x", false), ["a.local.example/x!"]);
        assert_eq!(places("local.example/x", false), ["local.example/x"]);
        let mut registries = Registries::default();
        registries.add(Path::new("registries.conf"), CONF).unwrap();
        let origin = registries.origin("docker.io", "library/a").unwrap();
        assert_eq!((&*origin.registry, &*origin.repository, origin.insecure), ("docker.io", "library/a", false));
    }

    #[test]
    fn what_is_blocked_is_an_error_that_names_the_file() {
        let error = places("docker.io/library/secret", false).unwrap_err();
        assert_eq!(error, "docker.io/library/secret is blocked by registries.conf");
        assert!(Registries::default().add(Path::new("x"), "[[registry]]\ninsecure = true").is_err());
        assert!(Registries::default().add(Path::new("x"), "registry = 3").is_err());
    }
}
