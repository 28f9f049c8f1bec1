//! What an answer of Nix depends on: files by their content, variables of the environment, and nothing else,
//! or it is not known.

use super::traced::Asked;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Larger files are known by their times instead of their content.
const MOST_HASHED: u64 = 16 << 20;

/// Times of files are those of the last tick of the kernel's clock (a hundred a second at least).
const TICK: Duration = Duration::from_millis(10);

/// What an answer depends on.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// What there was at each path.
    files: BTreeMap<PathBuf, String>,
    /// Names of directories that were listed.
    lists: BTreeMap<PathBuf, String>,
    environment: BTreeMap<String, Option<String>>,
}

/// What was seen of files in this run, of which each is looked at once.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<PathBuf, String>>);

impl Inputs {
    /// Those of a program that began at `began`. `None`: something that it depends on can't be known.
    pub fn of(asked: &Asked, expression: &str, began: SystemTime, seen: &Seen) -> Option<Self> {
        let places = Places::new();
        if asked.network || asked.processes || asked.paths.iter().any(|path| places.is_fetched(path)) {
            return None;
        }
        let texts = Texts::new(asked)?;
        if asked.paths.iter().any(|path| is_hidden_code(path)) {
            return None;
        }
        let mut names = variables(expression, false)?;
        names.extend(texts.variables()?);
        let mut inputs = Inputs::default();
        for path in asked.paths.iter().filter(|path| places.may_change(path)) {
            if changed_since(path, began) {
                return None;
            }
            inputs.files.insert(path.clone(), seen.of(path));
        }
        for path in asked.listed.iter().filter(|path| places.may_change(path)) {
            inputs.lists.insert(path.clone(), names_in(path));
        }
        inputs.environment = own_variables();
        inputs.environment.extend(names.into_iter().map(|name| (name.clone(), std::env::var(name).ok())));
        Some(inputs)
    }

    /// Whether all is as it was.
    pub fn are_unchanged(&self, seen: &Seen) -> bool {
        let is_own = |name: &String| name.starts_with(OWN);
        let own = own_variables();
        own.keys().all(|name| self.environment.contains_key(name))
            && self
                .environment
                .keys()
                .filter(|name| is_own(name))
                .all(|name| own.contains_key(name) || value(name).is_none())
            && self.environment.iter().all(|(name, was)| value(name) == *was)
            && self.files.iter().all(|(path, was)| seen.of(path) == *was)
            && self.lists.iter().all(|(path, was)| names_in(path) == *was)
    }
}

/// Variables that Nix itself reads.
const OWN: &str = "NIX_";

fn own_variables() -> BTreeMap<String, Option<String>> {
    let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let own = all.filter(|(name, _)| name.starts_with(OWN));
    let mut own: BTreeMap<_, _> = own.map(|(name, value)| (name, value.into_string().ok())).collect();
    own.extend(["HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"].map(|name| (name.to_owned(), value(name))));
    own
}

fn value(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Directories of Nix's own.
struct Places {
    unchanging: Vec<PathBuf>,
    cache: PathBuf,
}

impl Places {
    fn new() -> Self {
        let variable = |name: &str, default: &str| PathBuf::from(value(name).unwrap_or_else(|| default.into()));
        let state = variable("NIX_STATE_DIR", "/nix/var/nix");
        let home = variable("HOME", "/");
        let cache = value("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("nix");
        let mut unchanging = vec![variable("NIX_STORE_DIR", "/nix/store")];
        unchanging.extend(["db", "temproots", "gc.lock", "gcroots", "daemon-socket"].map(|name| state.join(name)));
        // Of the kernel.
        unchanging.extend(["/proc", "/sys", "/dev"].map(PathBuf::from));
        unchanging.push(cache.clone());
        Places { unchanging, cache }
    }

    /// A store path never changes, and what Nix writes is no input.
    fn may_change(&self, path: &Path) -> bool {
        !self.unchanging.iter().any(|directory| path.starts_with(directory)) || path.starts_with("/dev/shm")
    }

    /// Nix remembers there what it has fetched, for an hour (`tarball-ttl`).
    fn is_fetched(&self, path: &Path) -> bool {
        let begins =
            |name: &OsStr, kinds: &[&str]| kinds.iter().any(|kind| name.as_bytes().starts_with(kind.as_bytes()));
        let name = path.strip_prefix(&self.cache).ok().and_then(|rest| rest.iter().next());
        name.is_some_and(|name| begins(name, &["fetcher", "git", "tarball", "hg"]))
            // Wherever that is in truth.
            || path.iter().any(|name| begins(name, &["fetcher-cache", "gitv", "tarball-cache"]))
    }
}

impl Seen {
    fn of(&self, path: &Path) -> String {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return known.clone();
        }
        let now = state_of(path);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), now.clone());
        now
    }
}

/// What there is at a path.
fn state_of(path: &Path) -> String {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => "absent".into(),
        Err(error) => error.to_string(),
        Ok(meta) if meta.is_symlink() => {
            let target = std::fs::read_link(path).unwrap_or_default();
            let there = std::fs::metadata(path).map_or_else(|error| error.to_string(), |meta| content_of(path, &meta));
            format!("-> {} {there}", target.display())
        }
        Ok(meta) => content_of(path, &meta),
    }
}

fn content_of(path: &Path, meta: &std::fs::Metadata) -> String {
    if !meta.is_file() {
        return format!("{:o}", meta.mode() & 0o170_000);
    }
    if meta.len() > MOST_HASHED {
        return format!("{} {}.{}", meta.len(), meta.ctime(), meta.ctime_nsec());
    }
    let executable = meta.mode() & 0o100;
    match std::fs::read(path) {
        Ok(content) => format!("{executable:o} {}", hash(&[&content])),
        Err(error) => error.to_string(),
    }
}

fn names_in(path: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(path) else { return "absent".into() };
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let kind = entry.file_type().map_or("?", |kind| {
                if kind.is_dir() {
                    "/"
                } else if kind.is_symlink() {
                    "@"
                } else {
                    ""
                }
            });
            [entry.file_name().as_bytes(), kind.as_bytes(), b"\0"].concat()
        })
        .collect();
    names.sort();
    hash(&names.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// In hexadecimal; 128 bits are enough to tell one content from another.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Also what was changed just before may have been read as it was before.
fn changed_since(path: &Path, began: SystemTime) -> bool {
    let began = (began - TICK).duration_since(UNIX_EPOCH).unwrap_or_default();
    std::fs::metadata(path).is_ok_and(|meta| {
        !meta.is_dir()
            && (meta.ctime(), meta.ctime_nsec()) >= (began.as_secs().cast_signed(), i64::from(began.subsec_nanos()))
    })
}

/// Whether a file of another name has Nix code that reads variables or the time.
fn is_hidden_code(path: &Path) -> bool {
    let is_small = |meta: &std::fs::Metadata| meta.is_file() && meta.len() <= MOST_HASHED;
    if path.extension().is_some_and(|ending| ending == "nix")
        || !std::fs::metadata(path).is_ok_and(|meta| is_small(&meta))
    {
        return false;
    }
    let text = std::fs::read(path).unwrap_or_default();
    // No program has zeros in its text.
    if text.contains(&0) {
        return false;
    }
    let text = String::from_utf8_lossy(&text);
    let reads = |prefix: &str| ["getEnv", "currentTime"].iter().any(|word| text.contains(&format!("{prefix}{word}")));
    reads("__") || reads("") && text.contains("builtins")
}

/// The Nix code that was read.
struct Texts(Vec<(PathBuf, String)>);

impl Texts {
    /// `None`: one can't be read any more.
    fn new(asked: &Asked) -> Option<Self> {
        let nix = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "nix") && path.is_file();
        let read =
            |path: &PathBuf| Some((path.clone(), String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned()));
        asked.paths.iter().filter(nix).map(read).collect::<Option<_>>().map(Texts)
    }

    /// The variables of the environment that it reads. `None`: they can't be known, or the time counts.
    fn variables(&self) -> Option<BTreeSet<String>> {
        // The one file of nixpkgs' library that reads a variable by the name that it is given.
        let mark = Path::new("lib/deprecated/misc.nix");
        let trees: Vec<&Path> = self
            .0
            .iter()
            .filter(|(path, _)| path.ends_with(mark))
            .filter_map(|(path, _)| path.ancestors().nth(3))
            .collect();
        let mut all = BTreeSet::new();
        for (path, text) in &self.0 {
            all.extend(variables(text, trees.iter().any(|tree| path.starts_with(tree)))?);
        }
        Some(all)
    }
}

/// Variables that a text of Nix reads by a name in it. `None`: by another name, or it reads the time, or
/// could do so in a way that is not seen. Nixpkgs is known not to.
fn variables(text: &str, is_nixpkgs: bool) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    if !is_nixpkgs && (["currentTime", "maybeEnv"].iter().any(|word| text.contains(word)) || hides_builtins(text)) {
        return None;
    }
    for (at, word) in text.match_indices("getEnv") {
        let rest = text[at + word.len()..].trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        let name = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(name, _)| name);
        match name.filter(|name| !name.contains(['$', '\\'])) {
            Some(name) => drop(names.insert(name.to_owned())),
            None if is_nixpkgs => {}
            None => return None,
        }
    }
    Some(names)
}

/// Whether a text uses `builtins` other than by the names of its members.
fn hides_builtins(text: &str) -> bool {
    text.match_indices("builtins").any(|(at, word)| {
        let before = text[..at].trim_end();
        let rest = text[at + word.len()..].trim_start();
        let is_member = rest
            .strip_prefix('.')
            .is_some_and(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
        let is_scope = before.ends_with("with") && rest.starts_with(';');
        let is_inherited = before.ends_with('(') && rest.starts_with(')');
        !(is_member || is_scope || is_inherited || rest.starts_with('?'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_known_by_name_or_not_at_all() {
        let known = |text: &str| variables(text, false).map(|names| names.into_iter().collect::<Vec<_>>().join(" "));
        for (text, names) in [
            ("{ a = builtins.getEnv \"A\"; b = with builtins; getEnv(\"B\"); }", Some("A B")),
            ("let inherit (builtins) readFile; in builtins.readFile ./x", Some("")),
            ("builtins ? getFlake", Some("")),
            ("name: builtins.getEnv name", None),
            ("builtins.getEnv \"A${b}\"", None),
            ("inherit (builtins) getEnv;", None),
            ("builtins.${x}", None),
            ("builtins.\"currentTim\"", None),
            ("f builtins", None),
            ("toString builtins.currentTime", None),
        ] {
            assert_eq!(known(text).as_deref(), names, "{text}");
        }
        assert_eq!(variables("name: builtins.getEnv name", true), Some(BTreeSet::new()));
    }

    #[test]
    fn what_changed_is_seen() {
        let directory = std::env::temp_dir().join(format!("firnctl-inputs-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("d")).unwrap();
        let path = |name: &str| directory.join(name);
        std::fs::write(path("file"), "a").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        let asked = Asked {
            paths: ["file", "link", "absent", "d"].map(path).into(),
            listed: [path("d")].into(),
            ..Asked::default()
        };
        let afterwards = SystemTime::now() + Duration::from_secs(60);
        let inputs = || Inputs::of(&asked, "", afterwards, &Seen::default()).unwrap();
        let first = inputs();
        assert!(first.are_unchanged(&Seen::default()));
        let changes: [(&str, &dyn Fn()); 4] = [
            ("content", &|| std::fs::write(path("file"), "b").unwrap()),
            ("something absent", &|| std::fs::write(path("absent"), "").unwrap()),
            ("a list", &|| std::fs::write(path("d/x"), "").unwrap()),
            ("where a link leads", &|| {
                std::fs::remove_file(path("link")).unwrap();
                std::os::unix::fs::symlink("absent", path("link")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let before = inputs();
            change();
            assert!(!before.are_unchanged(&Seen::default()), "{what}");
            assert!(inputs().are_unchanged(&Seen::default()), "{what}");
        }
        // What changed while it was read is not known.
        let before = SystemTime::now() - Duration::from_secs(60);
        assert!(Inputs::of(&asked, "", before, &Seen::default()).is_none());
        // Nor what a file of another name says as Nix code, what another machine says, or a program.
        std::fs::write(path("file"), "builtins . getEnv \"A\"").unwrap();
        assert!(Inputs::of(&asked, "", afterwards, &Seen::default()).is_none());
        std::fs::write(path("file"), "the video's currentTime").unwrap();
        assert!(Inputs::of(&asked, "", afterwards, &Seen::default()).is_some());
        let asked = Asked { network: true, ..asked };
        assert!(Inputs::of(&asked, "", afterwards, &Seen::default()).is_none());
        let asked = Asked { network: false, processes: true, ..asked };
        assert!(Inputs::of(&asked, "", afterwards, &Seen::default()).is_none());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
