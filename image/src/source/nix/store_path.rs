//! Store paths, `/nix/store/HASH-NAME`, and how a user may give them.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The logical store directory. Packages have it compiled in, so the container sees the store there,
/// wherever it is on the host.
pub(crate) const LOGICAL_STORE: &str = "/nix/store";

/// The digits of Nix's base 32: without e, o, t and u.
const BASE32: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
/// Characters of the hash in a base name.
pub(crate) const HASH_LENGTH: usize = 32;
/// Nix's own limit for the name after the hash, in bytes.
const MAX_NAME: usize = 211;
/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A valid store path. It may not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StorePath {
    base: String,
}

/// Why a path is no store path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorePathError {
    #[error("{0} is not in the store {1}: give a store path, or a link to one")]
    Outside(PathBuf, PathBuf),
    #[error("{0:?} is no store path: it must be named HASH-NAME, with 32 letters of Nix's base 32")]
    Malformed(String),
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("resolve {0}: too many symbolic links")]
    TooManyLinks(PathBuf),
}

/// A store on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    physical: PathBuf,
}

/// Why a directory can't serve as store.
#[derive(Debug, thiserror::Error)]
#[error("store {0}: one that is not at /nix/store must be at ROOT/nix/store")]
pub(crate) struct StoreError(PathBuf);

impl Store {
    /// The store in directory `physical`. Errors: it does not end in `nix/store`.
    pub(crate) fn at(physical: &Path) -> Result<Self, StoreError> {
        let refused = || StoreError(physical.to_owned());
        let physical = std::path::absolute(physical).map_err(|_| refused())?;
        if !physical.ends_with("nix/store") {
            return Err(refused());
        }
        Ok(Self { physical })
    }

    /// Its directory on the host.
    pub(crate) fn dir(&self) -> &Path {
        &self.physical
    }

    /// The argument of Nix's `--store`; `None` for the host's own store.
    pub(crate) fn root(&self) -> Option<&Path> {
        if self.physical == Path::new(LOGICAL_STORE) {
            return None;
        }
        self.physical.parent().and_then(Path::parent)
    }

    /// Whether Nix has a database of this store, and so may collect from it.
    pub(crate) fn has_database(&self) -> bool {
        self.physical.parent().is_some_and(|nix| nix.join("var/nix/db").is_dir())
    }

    /// The path of `path` on the host.
    pub(crate) fn locate(&self, path: &StorePath) -> PathBuf {
        self.physical.join(&path.base)
    }

    /// The store path that a user has given: itself, something in it, or a link to one, such as
    /// ./result or /run/current-system.
    pub(crate) fn resolve(&self, given: &Path) -> Result<StorePath, StorePathError> {
        let error = |source| StorePathError::Read { path: given.to_owned(), source };
        let mut path = normalize(&std::path::absolute(given).map_err(error)?);
        for _ in 0..MAX_LINKS {
            if let Some(found) = self.base_of(&path) {
                return StorePath::from_base(found);
            }
            match first_link(&path).map_err(error)? {
                Some(next) => path = next,
                None => {
                    return Err(StorePathError::Outside(given.to_owned(), self.physical.clone()));
                }
            }
        }
        Err(StorePathError::TooManyLinks(given.to_owned()))
    }

    /// The base name of the store path that `path` is in, if it is in the store.
    fn base_of<'a>(&self, path: &'a Path) -> Option<&'a str> {
        let rest = path.strip_prefix(LOGICAL_STORE).or_else(|_| path.strip_prefix(&self.physical)).ok()?;
        rest.components().next()?.as_os_str().to_str()
    }
}

/// Follows the first symbolic link in an absolute path; `None` if there is none. One at a time, so
/// that the caller stops where the path enters the store: a store path may itself be a link.
fn first_link(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut walked = PathBuf::from("/");
    let mut rest = path.components();
    rest.next();
    while let Some(component) = rest.next() {
        let next = walked.join(component);
        if std::fs::symlink_metadata(&next)?.is_symlink() {
            let target = walked.join(std::fs::read_link(&next)?);
            return Ok(Some(normalize(&target.join(rest.as_path()))));
        }
        walked = next;
    }
    Ok(None)
}

/// Without `.` and `..`, lexically, as Nix does it: `..` after a link is the directory that the link
/// is in.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

impl StorePath {
    /// Parses a store path, as in a line of Nix's output.
    pub(crate) fn parse(line: &str) -> Result<Self, StorePathError> {
        let base = line
            .strip_prefix(LOGICAL_STORE)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| StorePathError::Outside(line.into(), LOGICAL_STORE.into()))?;
        Self::from_base(base)
    }

    fn from_base(base: &str) -> Result<Self, StorePathError> {
        let valid = base.split_at_checked(HASH_LENGTH).is_some_and(|(hash, rest)| {
            hash.bytes().all(|byte| BASE32.contains(&byte)) && rest.strip_prefix('-').is_some_and(is_name)
        });
        if !valid {
            return Err(StorePathError::Malformed(base.into()));
        }
        Ok(Self { base: base.into() })
    }

    /// Its base name, `HASH-NAME`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The path of `inside` in it, as the container sees it.
    pub(crate) fn join(&self, inside: &str) -> String {
        format!("{self}/{inside}")
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte))
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LOGICAL_STORE}/{}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

    #[test]
    fn names_are_checked() {
        for good in ["a", "glibc-2.37-8", "x+y._?=z"] {
            let path = StorePath::parse(&format!("/nix/store/{HASH}-{good}")).expect(good);
            assert_eq!(path.to_string(), format!("/nix/store/{HASH}-{good}"));
        }
        for bad in [
            format!("/nix/store/{HASH}"),
            format!("/nix/store/{HASH}-"),
            format!("/nix/store/{HASH}-a/b"),
            format!("/nix/store/{HASH}-a b"),
            format!("/nix/store/{HASH}-{}", "x".repeat(212)),
            format!("/nix/store/e{}-a", &HASH[1..]),
            "/nix/store/.links".into(),
            "/nix/store".into(),
            "/etc/passwd".into(),
            format!("{HASH}-relative"),
            "/nix/store/äääääääääääääääääääääääääääääääää-a".into(),
        ] {
            assert!(StorePath::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_users_write_is_resolved() {
        let temp = std::env::temp_dir().join(format!("firn-store-path-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&temp);
        std::fs::create_dir_all(temp.join("dir")).expect("make directory");
        let wanted = format!("/nix/store/{HASH}-sys");
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, temp.join(name)).expect("make link");
        };
        link(&wanted, "result");
        link("../result", "dir/chained");
        link("dir", "through");
        link("loop", "loop");
        link("/etc", "elsewhere");
        let store = Store::at(Path::new(LOGICAL_STORE)).expect("store");
        for given in [
            PathBuf::from(&wanted),
            PathBuf::from(format!("{wanted}/bin/sh")),
            PathBuf::from(format!("{wanted}/")),
            temp.join("result"),
            temp.join("result/bin"),
            temp.join("dir/chained"),
            temp.join("through/chained/deep"),
        ] {
            let path = store.resolve(&given).unwrap_or_else(|e| panic!("{given:?}: {e}"));
            assert_eq!(path.to_string(), wanted, "{given:?}");
        }
        let refused = |given: &Path| store.resolve(given).expect_err("refused");
        assert!(matches!(refused(&temp.join("loop")), StorePathError::TooManyLinks(_)));
        assert!(matches!(refused(&temp.join("elsewhere")), StorePathError::Outside(..)));
        assert!(matches!(refused(&temp.join("absent")), StorePathError::Read { .. }));
        assert!(matches!(refused(Path::new("/nix/store/x")), StorePathError::Malformed(_)));
        let escape = format!("/nix/store/{HASH}-sys/../../../etc");
        assert!(matches!(refused(Path::new(&escape)), StorePathError::Outside(..)));
        std::fs::remove_dir_all(&temp).expect("clean up");
    }

    #[test]
    fn a_store_elsewhere_has_a_root() {
        let store = Store::at(Path::new("/mnt/nix/store")).expect("store");
        assert_eq!(store.root(), Some(Path::new("/mnt")));
        let path = store.resolve(Path::new(&format!("/mnt/nix/store/{HASH}-a/b"))).expect("path");
        assert_eq!(path.to_string(), format!("/nix/store/{HASH}-a"));
        assert_eq!(store.locate(&path), Path::new(&format!("/mnt/nix/store/{HASH}-a")));
        assert_eq!(Store::at(Path::new(LOGICAL_STORE)).expect("store").root(), None);
        assert!(Store::at(Path::new("/gnu/store")).is_err());
    }
}
