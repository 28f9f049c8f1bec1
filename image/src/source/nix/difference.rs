//! What has changed between two sets of store paths: by package name, with versions and sizes.

use super::store_path::{HASH_LENGTH, StorePath};
use std::collections::{BTreeMap, BTreeSet};

/// Store paths and the bytes of each one's files.
pub(crate) type Sizes = BTreeMap<StorePath, u64>;

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Removed,
    /// It has other versions.
    Version,
    /// It has the same versions, and other hashes.
    Rebuilt,
}

impl Change {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Version => "version",
            Self::Rebuilt => "rebuilt",
        }
    }
}

/// A package whose store paths differ. Those that are on both sides are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) name: String,
    pub(crate) change: Change,
    pub(crate) old: Side,
    pub(crate) new: Side,
}

/// The store paths of a package that are on one side alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Sorted. Empty for packages without one.
    pub(crate) versions: BTreeSet<String>,
    pub(crate) paths: Vec<StorePath>,
    pub(crate) size: u64,
}

/// The packages that differ, by name.
pub(crate) fn compare(old: &Sizes, new: &Sizes) -> Vec<Difference> {
    let mut packages: BTreeMap<&str, (Side, Side)> = BTreeMap::new();
    for (path, size) in old.iter().filter(|(path, _)| !new.contains_key(path)) {
        let (name, version) = name_and_version(path);
        packages.entry(name).or_default().0.add(path, version, *size);
    }
    for (path, size) in new.iter().filter(|(path, _)| !old.contains_key(path)) {
        let (name, version) = name_and_version(path);
        packages.entry(name).or_default().1.add(path, version, *size);
    }
    let difference = |(name, (old, new)): (&str, (Side, Side))| {
        let change = match (old.paths.is_empty(), new.paths.is_empty()) {
            (true, _) => Change::Added,
            (_, true) => Change::Removed,
            _ if old.versions == new.versions => Change::Rebuilt,
            _ => Change::Version,
        };
        Difference { name: name.to_owned(), change, old, new }
    };
    packages.into_iter().map(difference).collect()
}

impl Side {
    fn add(&mut self, path: &StorePath, version: &str, size: u64) {
        if !version.is_empty() {
            self.versions.insert(version.to_owned());
        }
        self.paths.push(path.clone());
        self.size += size;
    }
}

/// The name of a package and its version, which begins at the first dash that no letter follows (Nix
/// manual, builtins.parseDrvName).
fn name_and_version(path: &StorePath) -> (&str, &str) {
    let full = &path.base()[HASH_LENGTH + 1..];
    let dashes = full.match_indices('-').map(|(at, _)| at);
    let mut starts = dashes.filter(|at| full[at + 1..].starts_with(|next: char| !next.is_ascii_alphabetic()));
    match starts.next() {
        Some(at) => (&full[..at], &full[at + 1..]),
        None => (full, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(letter: &str, name: &str) -> StorePath {
        StorePath::parse(&format!("/nix/store/{}-{name}", letter.repeat(32))).unwrap()
    }

    #[test]
    fn a_version_begins_with_no_letter() {
        for (full, name, version) in [
            ("glibc-2.37-8", "glibc", "2.37-8"),
            ("gcc-wrapper", "gcc-wrapper", ""),
            ("python3.11-requests-2.31.0-dist", "python3.11-requests", "2.31.0-dist"),
            ("x-", "x-", ""),
        ] {
            assert_eq!(name_and_version(&path("a", full)), (name, version), "{full}");
        }
    }

    #[test]
    fn packages_are_compared_by_name() {
        let old = [path("a", "glibc-2.37"), path("b", "app-1"), path("c", "gone"), path("d", "tool-3")];
        let new = [path("a", "glibc-2.37"), path("f", "app-2"), path("g", "fresh-1"), path("h", "tool-3")];
        let sizes = |paths: &[StorePath], size| paths.iter().map(|path| (path.clone(), size)).collect::<Sizes>();
        let changes = compare(&sizes(&old, 10), &sizes(&new, 15));
        let summary: Vec<_> =
            changes.iter().map(|change| (&*change.name, change.change, change.old.size, change.new.size)).collect();
        assert_eq!(
            summary,
            [
                ("app", Change::Version, 10, 15),
                ("fresh", Change::Added, 0, 15),
                ("gone", Change::Removed, 10, 0),
                ("tool", Change::Rebuilt, 10, 15),
            ]
        );
        assert_eq!(changes[0].old.versions, BTreeSet::from(["1".to_owned()]));
    }
}
