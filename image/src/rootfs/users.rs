//! The user of `--user`, from the root's /etc/passwd and /etc/group.

use super::view::{Found, View, ViewError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes that are read of either file.
const LIMIT: u64 = 4 << 20;

/// The ids of the container's process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, sorted.
    pub(crate) groups: Vec<u32>,
    /// The home directory, if the user has an entry in /etc/passwd.
    pub(crate) home: Option<String>,
}

/// Why a user can't be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("user {0:?}: no such user in the root's /etc/passwd: give a number, as in 1000:1000")]
    NoUser(String),
    #[error("group {0:?}: no such group in the root's /etc/group: give a number")]
    NoGroup(String),
    #[error("user {0:?}: give NAME, UID, or either with :GROUP or :GID")]
    Malformed(String),
    #[error("look up {file} in the root")]
    Find { file: &'static str, source: ViewError },
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
}

/// Looks up `USER[:GROUP]`, each a name or a number.
pub(crate) fn find_user(spec: &str, view: &View) -> Result<User, UserError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(UserError::Malformed(spec.into()));
    }
    let passwd = read_file(view, "/etc/passwd")?;
    let groups = read_file(view, "/etc/group")?;
    resolve(user, group, &passwd, &groups)
}

/// A number is an id and is not looked up as a name: a layer could otherwise have a user named
/// `1000` with uid 0, and `--user 1000` would run as root (CVE-2016-3697). shadow-utils refuses
/// such names for the same reason.
fn resolve(user: &str, group: Option<&str>, passwd: &str, groups: &str) -> Result<User, UserError> {
    let no_user = || UserError::NoUser(user.into());
    let mut entries = fields(passwd).filter(|entry| entry.len() >= 7);
    let (uid, entry) = if is_number(user) {
        let uid = parse_id(user).ok_or_else(no_user)?;
        (uid, entries.find(|entry| parse_id(entry[2]) == Some(uid)))
    } else {
        let entry = entries.find(|entry| entry[0] == user).ok_or_else(no_user)?;
        (parse_id(entry[2]).ok_or_else(no_user)?, Some(entry))
    };
    let mut found = User {
        uid,
        gid: entry.as_ref().and_then(|entry| parse_id(entry[3])).unwrap_or(0),
        groups: Vec::new(),
        home: entry.as_ref().map(|entry| entry[5].to_owned()).filter(|home| home.starts_with('/')),
    };
    if let Some(group) = group {
        let gid = if is_number(group) {
            parse_id(group)
        } else {
            fields(groups).find(|entry| entry.len() >= 3 && entry[0] == group).and_then(|entry| parse_id(entry[2]))
        };
        found.gid = gid.ok_or_else(|| UserError::NoGroup(group.into()))?;
    } else if let Some(entry) = &entry {
        // With an explicit group there are no supplementary ones, as with Docker.
        found.groups = fields(groups)
            .filter(|group| group.len() >= 4 && group[3].split(',').any(|name| name == entry[0]))
            .filter_map(|group| parse_id(group[2]))
            .collect();
        found.groups.sort_unstable();
        found.groups.dedup();
    }
    Ok(found)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An id. (uid_t)-1 is none: it means "no change" in setresuid(2).
fn parse_id(text: &str) -> Option<u32> {
    is_number(text).then(|| text.parse().ok())?.filter(|&id| id != u32::MAX)
}

fn fields(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(':').collect())
}

/// A file of the root; nothing if it is missing, as numbers need none.
fn read_file(view: &View, file: &'static str) -> Result<String, UserError> {
    let found = view.find(Path::new(file)).map_err(|source| UserError::Find { file, source })?;
    let Found::File { file, .. } = found else {
        return Ok(String::new());
    };
    let mut text = Vec::new();
    file.open()
        .and_then(|file| file.take(LIMIT).read_to_end(&mut text))
        .map_err(|source| UserError::Read { path: file.path, source })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlog:x:4:root,web\nadm:x:3:web\n";

    fn ids(user: &str, group: Option<&str>) -> Option<(u32, u32, Vec<u32>)> {
        resolve(user, group, PASSWD, GROUP).ok().map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids("web", None), Some((33, 34, vec![3, 4])));
        assert_eq!(ids("33", None), Some((33, 34, vec![3, 4])));
        assert_eq!(ids("web", Some("log")), Some((33, 4, vec![])));
        assert_eq!(ids("1000", None), Some((1000, 0, vec![])));
        assert_eq!(ids("1000", Some("1001")), Some((1000, 1001, vec![])));
        assert_eq!(ids("nobody", None), None);
        assert_eq!(ids("web", Some("none")), None);
        for bad in ["-1", "4294967295", "4294967296", "0x1", "1 "] {
            assert_eq!(ids(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_never_names() {
        let passwd = "1000:x:0:0::/root:/bin/sh\n0:x:7:7::/:/bin/sh\n+5:x:8:8::/:/bin/sh\nweb:x:+0:0::/:/bin/sh\n";
        let groups = "1000:x:0:\n0:x:6:1000\n";
        let ids = |user: &str, group: Option<&str>| {
            resolve(user, group, passwd, groups).ok().map(|user| (user.uid, user.gid, user.groups))
        };
        assert_eq!(ids("1000", Some("1000")), Some((1000, 1000, vec![])));
        assert_eq!(ids("1000", None), Some((1000, 0, vec![])));
        assert_eq!(ids("+5", Some("0")), Some((8, 0, vec![])));
        assert_eq!(ids("+0", None), None);
        assert_eq!(ids("web", None), None);
        assert_eq!(ids("4294967296", None), None);
    }

    #[test]
    fn malformed_specs_are_refused() {
        for bad in ["", ":", "1:", ":1", "1:2:3"] {
            let found = find_user(bad, &View::default());
            assert!(matches!(found, Err(UserError::Malformed(_))), "{bad}: {found:?}");
        }
        assert_eq!(find_user("7:8", &View::default()).expect("numbers").gid, 8);
    }
}
