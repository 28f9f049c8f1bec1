//! `--etc FILE`: the users, groups and files of /etc that programs expect in an image, from a small
//! JSON description with NixOS's names (`users.users`, `users.groups`, `environment.etc`).

use crate::layer::generated::{Content, GeneratedFile, complete};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The description.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Description {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
    etc: BTreeMap<String, EtcFile>,
    directories: BTreeMap<String, Directory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct User {
    uid: u32,
    /// Its name, or the user's own group with the user's number.
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    extra_groups: Vec<String>,
    #[serde(default)]
    description: String,
    #[serde(default = "no_home")]
    home: String,
    #[serde(default)]
    create_home: bool,
    #[serde(default = "no_shell")]
    shell: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    gid: u32,
    #[serde(default)]
    members: Vec<String>,
}

/// Either `text` or `source`, a path in the image to which a link leads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EtcFile {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    source: Option<String>,
    /// Octal.
    #[serde(default = "file_mode")]
    mode: String,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Directory {
    /// Octal.
    #[serde(default = "directory_mode")]
    mode: String,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

fn no_home() -> String {
    "/var/empty".into()
}

fn no_shell() -> String {
    "/sbin/nologin".into()
}

fn file_mode() -> String {
    "0644".into()
}

fn directory_mode() -> String {
    "0755".into()
}

/// Why a description is not one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountsError {
    #[error("parse")]
    Parse(#[from] serde_json::Error),
    #[error("{what} {name:?}: {problem}")]
    Bad { what: &'static str, name: String, problem: String },
}

fn bad(what: &'static str, name: &str, problem: impl Into<String>) -> AccountsError {
    AccountsError::Bad { what, name: name.into(), problem: problem.into() }
}

/// The files that a description stands for, in the order of an archive. `root` and `nobody` are there
/// without being named, as programs take them for granted.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<GeneratedFile>, AccountsError> {
    // An array would be taken for the fields in their order.
    let object: Map<String, Value> = serde_json::from_slice(text)?;
    let mut description: Description = serde_json::from_value(Value::Object(object))?;
    add_usual(&mut description);
    add_own_groups(&mut description)?;
    check(&description)?;
    let mut files = vec![
        GeneratedFile::bytes("etc/passwd", passwd(&description), 0o644),
        GeneratedFile::bytes("etc/group", group(&description), 0o644),
        GeneratedFile::bytes("etc/shadow", shadow(&description), 0o600),
    ];
    if !description.etc.contains_key("nsswitch.conf") {
        let text = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n";
        files.push(GeneratedFile::bytes("etc/nsswitch.conf", text, 0o644));
    }
    for (name, user) in &description.users {
        if user.create_home {
            let home = inside("home of user", name, &user.home)?;
            let gid = description.groups[user.group.as_deref().unwrap_or(name)].gid;
            files.push(GeneratedFile { mode: 0o700, uid: user.uid, gid, ..GeneratedFile::directory(home) });
        }
    }
    for (path, directory) in &description.directories {
        let mode = octal("directory", path, &directory.mode)?;
        let inside = inside("directory", path, path)?;
        let Directory { uid, gid, .. } = *directory;
        files.push(GeneratedFile { mode, uid, gid, ..GeneratedFile::directory(inside) });
    }
    for (name, file) in &description.etc {
        files.push(etc_file(name, file)?);
    }
    check_distinct(&files)?;
    Ok(complete(files))
}

fn add_usual(description: &mut Description) {
    let user = |uid, group: &str, home: &str, shell: &str| User {
        uid,
        group: Some(group.into()),
        extra_groups: Vec::new(),
        description: String::new(),
        home: home.into(),
        create_home: false,
        shell: shell.into(),
    };
    let users = &mut description.users;
    users.entry("root".into()).or_insert_with(|| user(0, "root", "/root", "/bin/sh"));
    users.entry("nobody".into()).or_insert_with(|| user(65534, "nogroup", &no_home(), &no_shell()));
    for (name, gid) in [("root", 0), ("nogroup", 65534)] {
        description.groups.entry(name.into()).or_insert_with(|| Group { gid, members: Vec::new() });
    }
}

/// A user without `group` has one of the same name and number.
fn add_own_groups(description: &mut Description) -> Result<(), AccountsError> {
    for (name, user) in &description.users {
        match &user.group {
            Some(group) if !description.groups.contains_key(group) => {
                return Err(bad("user", name, format!("there is no group {group:?}: add it to \"groups\"")));
            }
            Some(_) => {}
            None => {
                let own = || Group { gid: user.uid, members: Vec::new() };
                description.groups.entry(name.clone()).or_insert_with(own);
            }
        }
        for group in &user.extra_groups {
            let Some(group) = description.groups.get_mut(group) else {
                return Err(bad("user", name, format!("there is no group {group:?}: add it to \"groups\"")));
            };
            if !group.members.contains(name) {
                group.members.push(name.clone());
            }
        }
    }
    Ok(())
}

/// Colons and newlines would be other fields and other users.
fn check(description: &Description) -> Result<(), AccountsError> {
    let is_name = |name: &str| {
        let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte));
        word && !name.is_empty() && !name.starts_with('-') && !name.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_field = |text: &str| !text.contains([':', '\n', '\0']);
    let (mut uids, mut gids) = (BTreeSet::new(), BTreeSet::new());
    for (name, user) in &description.users {
        if !is_name(name) {
            return Err(bad("user", name, "give a name of letters, digits and _-."));
        }
        if ![&user.description, &user.home, &user.shell].into_iter().all(|text| is_field(text)) {
            return Err(bad("user", name, "a colon or newline in a field"));
        }
        if !uids.insert(user.uid) {
            return Err(bad("user", name, format!("another user has the uid {}", user.uid)));
        }
    }
    for (name, group) in &description.groups {
        if !is_name(name) {
            return Err(bad("group", name, "give a name of letters, digits and _-."));
        }
        if !gids.insert(group.gid) {
            return Err(bad("group", name, format!("another group has the gid {}", group.gid)));
        }
        if let Some(member) = group.members.iter().find(|member| !description.users.contains_key(*member)) {
            return Err(bad("group", name, format!("there is no user {member:?}")));
        }
    }
    Ok(())
}

fn passwd(description: &Description) -> String {
    let mut users: Vec<_> = description.users.iter().collect();
    users.sort_by_key(|(_, user)| user.uid);
    users.into_iter().fold(String::new(), |mut text, (name, user)| {
        let gid = description.groups[user.group.as_deref().unwrap_or(name)].gid;
        let User { uid, description, home, shell, .. } = user;
        let _ = writeln!(text, "{name}:x:{uid}:{gid}:{description}:{home}:{shell}");
        text
    })
}

fn group(description: &Description) -> String {
    let mut groups: Vec<_> = description.groups.iter().collect();
    groups.sort_by_key(|(_, group)| group.gid);
    groups.into_iter().fold(String::new(), |mut text, (name, group)| {
        let _ = writeln!(text, "{name}:x:{}:{}", group.gid, group.members.join(","));
        text
    })
}

/// No password is right for anybody (shadow(5)).
fn shadow(description: &Description) -> String {
    let mut users: Vec<_> = description.users.iter().collect();
    users.sort_by_key(|(_, user)| user.uid);
    users.into_iter().map(|(name, _)| format!("{name}:!:1::::::\n")).collect()
}

fn etc_file(name: &str, file: &EtcFile) -> Result<GeneratedFile, AccountsError> {
    let mode = octal("etc", name, &file.mode)?;
    let path = format!("etc/{}", inside("etc", name, &format!("/{name}"))?);
    match (&file.text, &file.source) {
        (Some(text), None) => {
            let content = Content::Bytes(text.clone().into_bytes());
            Ok(GeneratedFile { path, content, mode, uid: file.uid, gid: file.gid })
        }
        (None, Some(source)) if source.starts_with('/') => Ok(GeneratedFile::link(path, source.clone())),
        (None, Some(_)) => Err(bad("etc", name, "source: give an absolute path in the image")),
        _ => Err(bad("etc", name, "give either text or source")),
    }
}

fn octal(what: &'static str, name: &str, mode: &str) -> Result<u32, AccountsError> {
    let parsed = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
    parsed.ok_or_else(|| bad(what, name, format!("mode {mode:?}: give an octal one, such as 0644")))
}

/// An absolute path without what leads elsewhere, for an archive.
fn inside<'a>(what: &'static str, name: &str, path: &'a str) -> Result<&'a str, AccountsError> {
    let relative = path.strip_prefix('/').filter(|path| !path.is_empty());
    let whole = |path: &&str| path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0');
    relative.filter(whole).ok_or_else(|| bad(what, name, format!("{path:?} is no plain absolute path")))
}

fn check_distinct(files: &[GeneratedFile]) -> Result<(), AccountsError> {
    let mut seen = BTreeSet::new();
    for file in files {
        if !seen.insert(&file.path) {
            return Err(bad("file", &format!("/{}", file.path), "is described twice"));
        }
    }
    // Below what is no directory nothing can be.
    let leaves = files.iter().filter(|file| file.content != Content::Directory);
    for leaf in leaves {
        let below = format!("{}/", leaf.path);
        if let Some(file) = files.iter().find(|file| file.path.starts_with(&below)) {
            return Err(bad("file", &format!("/{}", file.path), format!("/{} is no directory", leaf.path)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(files: &'a [GeneratedFile], path: &str) -> &'a str {
        let file = files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"));
        let Content::Bytes(bytes) = &file.content else { panic!("{path}: {:?}", file.content) };
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn accounts_are_written_in_the_order_of_their_numbers() {
        let files = parse(
            br#"{"users": {"web": {"uid": 80, "home": "/srv/web", "createHome": true, "extraGroups": ["log"]},
                           "app": {"uid": 7, "group": "log", "shell": "/bin/sh", "description": "An app"}},
                 "groups": {"log": {"gid": 4}}}"#,
        )
        .unwrap();
        assert_eq!(
            text(&files, "etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:7:4:An app:/var/empty:/bin/sh\n\
             web:x:80:80::/srv/web:/sbin/nologin\nnobody:x:65534:65534::/var/empty:/sbin/nologin\n"
        );
        assert_eq!(text(&files, "etc/group"), "root:x:0:\nlog:x:4:web\nweb:x:80:\nnogroup:x:65534:\n");
        assert_eq!(text(&files, "etc/shadow").lines().next(), Some("root:!:1::::::"));
        let home = files.iter().find(|file| file.path == "srv/web").unwrap();
        assert_eq!((home.mode, home.uid, home.gid), (0o700, 80, 80));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, reason) in [
            ("[]", "parse"),
            (r#"{"user": {}}"#, "parse"),
            (r#"{"users": {"a": {"uid": 1, "group": "x"}}}"#, "user \"a\": there is no group \"x\""),
            (r#"{"users": {"a": {"uid": 1, "extraGroups": ["x"]}}}"#, "user \"a\": there is no group \"x\""),
            (r#"{"users": {"a:0": {"uid": 1}}}"#, "user \"a:0\": give a name"),
            (r#"{"users": {"1": {"uid": 1}}}"#, "user \"1\": give a name"),
            (r#"{"users": {"a": {"uid": 1, "home": "/x\nroot::0"}}}"#, "user \"a\": a colon or newline"),
            (r#"{"users": {"a": {"uid": 0}}}"#, "user \"root\": another user has the uid 0"),
            (r#"{"groups": {"a": {"gid": 1, "members": ["x"]}}}"#, "group \"a\": there is no user \"x\""),
            (r#"{"etc": {"a": {}}}"#, "etc \"a\": give either"),
            (r#"{"etc": {"../a": {"text": ""}}}"#, "etc \"../a\": \"/../a\" is no plain absolute path"),
            (r#"{"etc": {"a": {"source": "x"}}}"#, "etc \"a\": source: give an absolute path"),
            (r#"{"etc": {"a": {"text": "", "mode": "rw"}}}"#, "etc \"a\": mode \"rw\""),
            (r#"{"etc": {"passwd": {"text": ""}}}"#, "file \"/etc/passwd\": is described twice"),
            (r#"{"etc": {"a": {"text": ""}, "a/b": {"text": ""}}}"#, "file \"/etc/a/b\": /etc/a is no directory"),
            (r#"{"directories": {"tmp": {}}}"#, "directory \"tmp\""),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }
}
