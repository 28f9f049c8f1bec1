//! Credentials for a registry, from the files that podman, skopeo and docker keep them in
//! (containers-auth.json(5)), and from the helper programs that these name.

use crate::caller;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

// Never the password in a message.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("parse {path}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{path}: the entry {key:?} is not base64 of USER:PASSWORD: log in anew")]
    Entry { path: PathBuf, key: String },
    #[error("run {program}, which {path} names")]
    Run { program: String, path: PathBuf, source: io::Error },
    #[error("{program}: {message}")]
    Helper { program: String, message: String },
    #[error(
        "{path}: the entry {key:?} is an identity token, which is not supported: log in with a password or an access token"
    )]
    IdentityToken { path: PathBuf, key: String },
}

/// A file of credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    /// Helpers by registry.
    cred_helpers: BTreeMap<String, String>,
    /// The helper for all others.
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

/// The credentials for `repository` of `registry`, such as `library/alpine` of `docker.io`: from the
/// first of `files` that has some. None: none has.
pub(crate) fn find(
    files: &[PathBuf],
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    for path in files {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => result.map_err(|source| CredentialsError::Read { path: path.clone(), source })?,
        };
        let file =
            serde_json::from_slice(&text).map_err(|source| CredentialsError::Parse { path: path.clone(), source })?;
        if let Some(found) = find_in(&file, path, registry, repository)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Where credentials are, the first one first: $REGISTRY_AUTH_FILE alone, else podman's and docker's.
pub(crate) fn files() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let mut files = Vec::new();
    match variable("XDG_RUNTIME_DIR") {
        Some(directory) => files.push(directory.join("containers/auth.json")),
        None => {
            files.push(format!("/run/containers/{}/auth.json", caller::uid()).into());
        }
    }
    let home = variable("HOME");
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    files.extend(config.map(|directory| directory.join("containers/auth.json")));
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    files.extend(docker.map(|directory| directory.join("config.json")));
    files
}

fn find_in(
    file: &AuthFile,
    path: &Path,
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    if let Some(helper) = file.cred_helpers.get(registry) {
        return ask(helper, path, registry);
    }
    if let Some((key, entry)) = entry(file, registry, repository) {
        return read_entry(path, key, entry).map(Some);
    }
    match &file.creds_store {
        Some(helper) => ask(helper, path, registry),
        None => Ok(None),
    }
}

/// The entry of the longest name: the repository, what it is below, the registry. Names may be written
/// as docker does: as URLs.
fn entry<'a>(file: &'a AuthFile, registry: &str, repository: &str) -> Option<(&'a str, &'a Entry)> {
    let mut wanted = format!("{registry}/{repository}");
    loop {
        if let Some((key, entry)) = file.auths.get_key_value(&wanted) {
            return Some((key, entry));
        }
        match wanted.rfind('/') {
            Some(slash) => wanted.truncate(slash),
            None => break,
        }
    }
    let found = file.auths.iter().find(|(key, _)| host_of(key) == registry);
    found.map(|(key, entry)| (key.as_str(), entry))
}

/// The registry of a name such as `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let Some(rest) = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) else { return "" };
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

fn read_entry(path: &Path, key: &str, entry: &Entry) -> Result<Credentials, CredentialsError> {
    let wrong = || CredentialsError::Entry { path: path.to_owned(), key: key.to_owned() };
    if entry.identitytoken.as_ref().is_some_and(|token| !token.is_empty()) {
        return Err(CredentialsError::IdentityToken { path: path.to_owned(), key: key.to_owned() });
    }
    let bytes = STANDARD.decode(entry.auth.as_deref().unwrap_or_default().trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    // docker pads with NUL bytes.
    Ok(Credentials { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}

/// Asks a helper program (docker-credential-helpers). None: it has none.
fn ask(helper: &str, path: &Path, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
    /// The name by which docker stores those of docker.io.
    const DOCKER_HUB: &str = "https://index.docker.io/v1/";
    let program = format!("docker-credential-{helper}");
    let failed = |source| CredentialsError::Run { program: program.clone(), path: path.to_owned(), source };
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read fails by its status.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return match message.contains("credentials not found") {
            true => Ok(None),
            false => Err(CredentialsError::Helper { program, message: format!("{}: {message}", output.status) }),
        };
    }
    let found: HelperOutput = serde_json::from_slice(&output.stdout)
        .map_err(|error| CredentialsError::Helper { program: program.clone(), message: error.to_string() })?;
    match &*found.username {
        "<token>" => Err(CredentialsError::IdentityToken { path: path.to_owned(), key: registry.to_owned() }),
        _ => Ok(Some(Credentials { user: found.username, password: found.secret })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in_text(text: &str, registry: &str, repository: &str) -> Option<String> {
        let file = serde_json::from_str(text).unwrap();
        find_in(&file, Path::new("auth.json"), registry, repository)
            .unwrap()
            .map(|found| format!("{}:{}", found.user, found.password))
    }

    #[test]
    fn the_longest_name_has_the_credentials() {
        let entry = |text: &str| format!("{{\"auth\":\"{}\"}}", STANDARD.encode(text));
        let text = format!(
            r#"{{"auths":{{"quay.io":{},"quay.io/a":{},"quay.io/a/b":{},"https://index.docker.io/v1/":{}}}}}"#,
            entry("all:1"),
            entry("a:2"),
            entry("b:3:4"),
            entry("hub:5\0\0")
        );
        let find = |registry, repository| find_in_text(&text, registry, repository);
        assert_eq!(find("quay.io", "a/b").as_deref(), Some("b:3:4"));
        assert_eq!(find("quay.io", "a/bc").as_deref(), Some("a:2"));
        assert_eq!(find("quay.io", "c").as_deref(), Some("all:1"));
        assert_eq!(find("docker.io", "library/x").as_deref(), Some("hub:5"));
        assert_eq!(find("ghcr.io", "a/b"), None);
    }

    #[test]
    fn wrong_entries_are_named_and_not_shown() {
        for (entry, wanted) in [
            (r#"{"auth":"x"}"#, "\"quay.io\" is not base64"),
            (r#"{}"#, "\"quay.io\" is not base64"),
            (r#"{"identitytoken":"secret"}"#, "identity token"),
        ] {
            let file = serde_json::from_str(&format!(r#"{{"auths":{{"quay.io":{entry}}}}}"#)).unwrap();
            let error = find_in(&file, Path::new("auth.json"), "quay.io", "a").unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("secret"), "{error}");
        }
        let shown = format!("{:?}", Credentials { user: "u".into(), password: "hidden".into() });
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
