//! Which source file of a crate imports which: the paths that begin with `crate`,
//! `self`, `super`, a module's child or an imported name. Tests inside files are left
//! out, and a re-export counts as what it exports.

use crate::Result;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The files of a crate, by their path below `src`.
pub struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// A module that is a file.
#[derive(Default)]
struct Module {
    file: String,
    /// Paths that occur in it, as written.
    paths: Vec<Vec<String>>,
    /// Names that `use` brings in, and what they stand for.
    names: BTreeMap<String, Vec<String>>,
    /// Of these, what is re-exported.
    exports: BTreeMap<String, Vec<String>>,
}

/// By the path of the module, as in `["cgroup", "systemd"]`.
type Modules = BTreeMap<Vec<String>, Module>;

impl Graph {
    pub fn read(root: &Path) -> Result<Graph> {
        let mut modules = Modules::new();
        read(root, root, &mut modules)?;
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (place, module) in &modules {
            let to = edges.entry(module.file.clone()).or_default();
            for path in &module.paths {
                let target = absolute(path, place, module, &modules).and_then(|path| resolve(&path, &modules, 0));
                // The root has macros, which are everybody's.
                let is_root = |target: &String| ["lib.rs", "main.rs"].contains(&target.as_str());
                to.extend(target.filter(|target| *target != module.file && !is_root(target)));
            }
        }
        Ok(Graph { edges })
    }

    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges.iter().flat_map(|(from, all)| all.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// Files that lead back to themselves, each group once.
    pub fn circles(&self) -> Vec<String> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reached(file))).collect();
        let mut found = BTreeSet::new();
        for (file, reached) in &reach {
            let mutual: Vec<&str> = reached.iter().copied().filter(|other| reach[other].contains(file)).collect();
            if !mutual.is_empty() {
                found.insert(mutual.join(", "));
            }
        }
        found.into_iter().collect()
    }

    fn reached<'a>(&'a self, file: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut left = vec![file];
        while let Some(file) = left.pop() {
            let next = self.edges.get(file).into_iter().flatten().map(String::as_str);
            left.extend(next.filter(|next| reached.insert(*next)));
        }
        reached
    }
}

fn read(root: &Path, dir: &Path, modules: &mut Modules) -> Result<()> {
    // A program's main.rs is a crate of its own where there is a library.
    let has_library = dir.join("lib.rs").exists();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, modules)?;
            continue;
        }
        if has_library && path.ends_with("main.rs") {
            continue;
        }
        let below = path.strip_prefix(root)?;
        let file = below.to_string_lossy().into_owned();
        let Some(stem) = file.strip_suffix(".rs").filter(|stem| *stem != "tests" && !stem.ends_with("/tests")) else {
            continue;
        };
        let mut place: Vec<String> = stem.split('/').map(String::from).collect();
        if place.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            place.pop();
        }
        let tokens: TokenStream =
            std::fs::read_to_string(&path)?.parse().map_err(|error| format!("{file}: {error}"))?;
        let module = modules.entry(place).or_default();
        module.file = file;
        module.scan(tokens);
    }
    Ok(())
}

impl Module {
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut is_public = false;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(word) if word == "mod" && matches!(tokens.get(at + 2), Some(TokenTree::Group(_))) => {
                    at += 3;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end =
                        tokens[at..].iter().position(|token| is_punct(token, ';')).map_or(tokens.len(), |n| at + n);
                    self.import(&tokens[at + 1..end], &[], is_public);
                    at = end;
                }
                TokenTree::Ident(_) => {
                    is_public = matches!(&tokens[at], TokenTree::Ident(word) if word == "pub");
                    let (path, next) = path_at(&tokens, at);
                    if path.len() > 1 {
                        self.paths.push(path);
                    }
                    at = next;
                    // pub(crate) use
                    if is_public && matches!(tokens.get(at), Some(TokenTree::Group(_))) {
                        at += 1;
                    }
                }
                TokenTree::Group(group) => {
                    self.scan(group.stream());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// A tree of `use`, after `prefix`.
    fn import(&mut self, tokens: &[TokenTree], prefix: &[String], is_public: bool) {
        for branch in tokens.split(|token| is_punct(token, ',')) {
            let (path, next) = path_at(branch, 0);
            let mut path = [prefix, &path].concat();
            match branch.get(next) {
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.import(&inner, &path, is_public);
                    continue;
                }
                _ => {}
            }
            if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                path.pop();
            }
            let renamed = match (branch.get(next), branch.get(next + 1)) {
                (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name))) if word == "as" => Some(name.to_string()),
                _ => None,
            };
            if let Some(name) = renamed.or_else(|| path.last().cloned()) {
                if is_public {
                    self.exports.insert(name.clone(), path.clone());
                } else {
                    self.paths.push(path.clone());
                }
                self.names.insert(name, path);
            }
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Names that are joined by `::`, from the one at `at`, and what comes after. A `::`
/// before a brace or an asterisk belongs to the path.
fn path_at(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        path.push(word.to_string());
        at += 1;
        let joined =
            tokens.get(at).is_some_and(|a| is_punct(a, ':')) && tokens.get(at + 1).is_some_and(|b| is_punct(b, ':'));
        if !joined {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// From the crate's root; None for what is another crate's.
fn absolute(path: &[String], place: &[String], module: &Module, modules: &Modules) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let below = |base: &[String]| Some([base, rest].concat());
    match first.as_str() {
        "crate" => below(&[]),
        "self" => below(place),
        "super" => {
            let parent = &place[..place.len().checked_sub(1)?];
            match rest.first().is_some_and(|next| next == "super") {
                true => absolute(rest, parent, module, modules),
                false => below(parent),
            }
        }
        name => {
            let child = [place, &[name.to_owned()]].concat();
            if modules.contains_key(&child) {
                return below(&child);
            }
            let imported = module.names.get(name).filter(|imported| imported.first() != Some(first))?;
            below(&absolute(imported, place, module, modules)?)
        }
    }
}

/// The file in which the thing at `path` is, re-exports followed.
fn resolve(path: &[String], modules: &Modules, depth: usize) -> Option<String> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (place, module) = (&path[..length], &modules[&path[..length]]);
    if let Some(exported) = path.get(length).and_then(|name| module.exports.get(name)).filter(|_| depth < 8) {
        let target = absolute(exported, place, module, modules)?;
        return resolve(&[&target, &path[length + 1..]].concat(), modules, depth + 1);
    }
    Some(module.file.clone())
}
