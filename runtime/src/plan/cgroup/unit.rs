//! The systemd unit of a container: its name, and the path of its cgroup.

use crate::bail;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// A scope in a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub name: String,
    pub slice: String,
    /// Of systemd's user instance, not the system instance.
    pub of_user: bool,
}

impl Unit {
    /// From `linux.cgroupsPath` as `slice:prefix:name`, as runc and crun take it; empty: the default.
    /// Errors: another format; a slice as the name.
    pub fn new(path: &str, id: &str, of_user: bool) -> Result<Self> {
        let default = if of_user { "user.slice" } else { "system.slice" };
        let parts: Vec<&str> = if path.is_empty() { vec!["", "firn", id] } else { path.split(':').collect() };
        let [slice, prefix, name] = parts[..] else {
            bail!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
            )
        };
        let slice = if slice.is_empty() { default } else { slice };
        check(slice, "slice")?;
        if name.ends_with(".slice") {
            bail!("linux.cgroupsPath: {name:?} is a slice, which holds units and no container");
        }
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        check(&name, "unit")?;
        slice_path(slice)?;
        Ok(Unit { name, slice: slice.to_owned(), of_user })
    }

    /// The cgroup of the unit relative to that of systemd, without a leading slash.
    pub fn path(&self) -> Result<String> {
        let slice = slice_path(&self.slice)?;
        Ok(if slice.is_empty() { self.name.clone() } else { format!("{slice}/{}", self.name) })
    }
}

/// Checks a unit name, systemd.unit(5), which becomes a directory's.
fn check(name: &str, kind: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@+".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(allowed) {
        bail!("linux.cgroupsPath: {name:?} is not the name of a {kind}");
    }
    Ok(())
}

/// The cgroup of a slice: `a-b.slice` is in `a.slice` (systemd.slice(5)); `-.slice` is the root.
fn slice_path(slice: &str) -> Result<String> {
    if slice == "-.slice" {
        return Ok(String::new());
    }
    let Some(name) = slice.strip_suffix(".slice") else {
        bail!("linux.cgroupsPath: {slice:?} is not the name of a slice")
    };
    if name.split('-').any(str::is_empty) {
        bail!("linux.cgroupsPath: {slice:?} is not the name of a slice");
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> String {
        Unit::new(path, "c1", false).unwrap().path().unwrap()
    }

    #[test]
    fn scopes_lie_in_their_slices() {
        assert_eq!(path(""), "system.slice/firn-c1.scope");
        assert_eq!(path("machine.slice:libpod:x"), "machine.slice/libpod-x.scope");
        assert_eq!(path(":crio:x"), "system.slice/crio-x.scope");
        assert_eq!(path("a-b-c.slice::x"), "a.slice/a-b.slice/a-b-c.slice/x.scope");
        assert_eq!(path("-.slice:p:x"), "p-x.scope");
        assert_eq!(Unit::new("", "c1", true).unwrap().path().unwrap(), "user.slice/firn-c1.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for wrong in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            "a--b.slice:p:x",
            "../x.slice:p:x",
            "x.slice:p:a/b",
            "x.slice:p:y.slice",
        ] {
            assert!(Unit::new(wrong, "c1", false).is_err(), "{wrong}");
        }
    }
}
