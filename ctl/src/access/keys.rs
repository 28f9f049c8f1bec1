//! Lines of an authorized_keys file (sshd(8)) that log in to containers: each key runs `firnctl
//! ssh-command USER@NAME` on the host, whatever the client asks for, and nothing else.

use crate::definition::schema::Definition;
use std::collections::BTreeMap;

/// Who a key logs in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login<'a> {
    pub user: &'a str,
    pub container: &'a str,
    /// Without options.
    pub key: &'a str,
}

/// Those of a container.
pub fn logins<'a>(container: &'a str, definition: &'a Definition) -> impl Iterator<Item = Login<'a>> {
    let users = definition.ssh_keys.iter();
    users.flat_map(move |(user, keys)| keys.iter().map(move |key| Login { user, container, key: key.trim() }))
}

impl Login<'_> {
    /// The line, whose command is that of `firnctl`, the words of its call.
    pub fn line(&self, firnctl: &[String]) -> String {
        let words = firnctl.iter().map(String::as_str).chain(["ssh-command"]).map(String::from);
        let command: Vec<String> = words.chain([self.to_string()]).map(|word| quoted(&word)).collect();
        format!("restrict,pty,command=\"{}\" {}", command.join(" ").replace('"', "\\\""), self.key)
    }
}

impl std::fmt::Display for Login<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user, self.container)
    }
}

/// The second word of a key.
fn blob(key: &str) -> Option<&str> {
    key.split_ascii_whitespace().nth(1)
}

/// The first two that log in with the same key: sshd takes the first line with it, so the other would never
/// be reached.
pub fn shared<'a>(logins: impl IntoIterator<Item = Login<'a>>) -> Option<(Login<'a>, Login<'a>)> {
    let mut seen: BTreeMap<&'a str, Login<'a>> = BTreeMap::new();
    for login in logins {
        let blob = blob(login.key).unwrap_or(login.key);
        match seen.get(blob) {
            Some(other) if (other.user, other.container) != (login.user, login.container) => {
                return Some((other.clone(), login));
            }
            _ => drop(seen.insert(blob, login)),
        }
    }
    None
}

/// For the shell by which sshd runs the command.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_runs_one_command() {
        let login = Login { user: "web", container: "a", key: "ssh-ed25519 AAAA me@here" };
        let line = login.line(&["/usr/bin/firnctl".into()]);
        assert_eq!(line, r#"restrict,pty,command="/usr/bin/firnctl ssh-command web@a" ssh-ed25519 AAAA me@here"#);
        let odd = login.line(&["/a b/\"'".into()]);
        assert!(odd.starts_with(r#"restrict,pty,command="'/a b/\"'\''' ssh-command web@a" ssh"#), "{odd}");
    }

    #[test]
    fn a_key_is_one_users() {
        let login = |user, container, key| Login { user, container, key };
        let own = [login("web", "a", "ssh-ed25519 AAAA x"), login("web", "a", "ssh-ed25519 AAAA y")];
        assert_eq!(shared(own.clone()), None);
        for other in [login("root", "a", "ssh-ed25519 AAAA"), login("web", "b", "ssh-ed25519 AAAA z")] {
            assert_eq!(shared([own[0].clone(), other.clone()]), Some((own[0].clone(), other)));
        }
    }
}
