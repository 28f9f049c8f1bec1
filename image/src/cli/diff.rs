//! `firn-image diff`: what has changed from one closure or image to another.

use super::inspect::parse_reference;
use super::size::{bytes, growth};
use super::transfer;
use crate::layer::contents::{self, Contents};
use crate::oci::platform::Platform;
use crate::source::nix::closure::Closure;
use crate::source::nix::difference::{Difference, Side, Sizes, compare};
use crate::source::nix::store_path::{LOGICAL_STORE, Store, StorePath};
use crate::store::pull::Parts;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  What an update of a NixOS system brings:
    firn-image diff /run/current-system ./result
  What is new in an image:
    firn-image diff oci:images:site-1 oci:images:site-2
  Without Nix, by lists of closureInfo:
    firn-image diff ./old ./new --old-store-paths old.list --new-store-paths new.list
";

/// Compare two closures or images: packages added, removed, rebuilt or with other versions, sizes,
/// and an image's other files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiffArgs {
    /// Store path or a link to one; or an image: docker://NAME[:TAG|@DIGEST], oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME].
    old: PathBuf,

    /// Store path or a link to one; or an image, as above.
    new: PathBuf,

    /// List of the store paths of OLD's closure, in any form that `build` takes.
    #[arg(long, value_name = "FILE")]
    old_store_paths: Option<PathBuf>,

    /// List of the store paths of NEW's closure.
    #[arg(long, value_name = "FILE")]
    new_store_paths: Option<PathBuf>,

    /// Of an index, the image for this platform instead of this machine's: [linux/]ARCHITECTURE[/VARIANT].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// The store on the host: ROOT/nix/store.
    #[arg(long, value_name = "DIR", default_value = LOGICAL_STORE)]
    store: PathBuf,

    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// One of the two.
#[derive(Default)]
struct Tree {
    packages: Sizes,
    /// Files that are in no store path.
    files: Contents,
}

impl Tree {
    fn of(given: &Path, list: Option<&Path>, platform: Option<&Platform>, store: &Store) -> Result<Self> {
        match parse_reference(given)? {
            Some((text, reference)) => {
                let read = || anyhow::Ok(contents::read(&transfer::open(&reference, platform, Parts::All)?.source)?);
                Ok(Self::of_image(read().with_context(|| format!("image {text}"))?))
            }
            None => Ok(Self { packages: sizes(given, list, store)?, files: Contents::new() }),
        }
    }

    fn of_image(contents: Contents) -> Self {
        let mut tree = Self::default();
        for (path, facts) in contents {
            let base = path.strip_prefix(LOGICAL_STORE).ok().and_then(|inside| inside.iter().next()?.to_str());
            match base.and_then(|base| StorePath::parse(&format!("{LOGICAL_STORE}/{base}")).ok()) {
                Some(package) => *tree.packages.entry(package).or_default() += facts.size,
                None => drop(tree.files.insert(path, facts)),
            }
        }
        tree
    }

    fn size(&self) -> u64 {
        self.packages.values().sum::<u64>() + self.files.values().map(|facts| facts.size).sum::<u64>()
    }
}

/// A file outside of store paths that differs: its path, what became of it, and both sizes.
struct FileChange<'a> {
    path: &'a Path,
    change: &'static str,
    old: u64,
    new: u64,
}

fn compare_files<'a>(old: &'a Contents, new: &'a Contents) -> Vec<FileChange<'a>> {
    let paths: BTreeSet<&PathBuf> = old.keys().chain(new.keys()).collect();
    let change = |path: &'a PathBuf| {
        let (before, after) = (old.get(path), new.get(path));
        let change = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            (before, after) if before == after => return None,
            _ => "changed",
        };
        let size = |facts: Option<&contents::Facts>| facts.map_or(0, |facts| facts.size);
        Some(FileChange { path, change, old: size(before), new: size(after) })
    };
    paths.into_iter().filter_map(change).collect()
}

/// Prints the differences.
pub(super) fn run(args: &DiffArgs) -> Result<()> {
    let store = Store::at(&args.store)?;
    let old = Tree::of(&args.old, args.old_store_paths.as_deref(), args.platform.as_ref(), &store)?;
    let new = Tree::of(&args.new, args.new_store_paths.as_deref(), args.platform.as_ref(), &store)?;
    let packages = compare(&old.packages, &new.packages);
    let files = compare_files(&old.files, &new.files);
    let text = if args.json {
        // JSON leaves DEL and the C1 control characters as they are; escaped, its value is the same.
        firn::log::printable(&format!("{:#}\n", to_json(&old, &new, &packages, &files))).into_owned()
    } else {
        table(&old, &new, &packages, &files)
    };
    std::io::stdout().write_all(text.as_bytes()).context("print")
}

/// The store paths of a closure, with the bytes of their files.
fn sizes(given: &Path, list: Option<&Path>, store: &Store) -> Result<Sizes> {
    let closure = Closure::find(given, &[], list, store)?;
    let size = |path: StorePath| {
        let place = store.locate(&path);
        let size = tree_size(&place).with_context(|| format!("read {}", place.display()))?;
        Ok((path, size))
    };
    closure.paths.into_iter().map(size).collect()
}

fn tree_size(path: &Path) -> std::io::Result<u64> {
    let meta = path.symlink_metadata()?;
    if !meta.is_dir() {
        return Ok(if meta.is_file() { meta.len() } else { 0 });
    }
    let mut size = 0;
    for entry in path.read_dir()? {
        size += tree_size(&entry?.path())?;
    }
    Ok(size)
}

fn to_json(old: &Tree, new: &Tree, packages: &[Difference], files: &[FileChange<'_>]) -> Value {
    let total = |tree: &Tree| json!({ "paths": tree.packages.len(), "files": tree.files.len(), "size": tree.size() });
    let side = |side: &Side| {
        let paths: Vec<String> = side.paths.iter().map(StorePath::to_string).collect();
        json!({ "versions": side.versions, "paths": paths, "size": side.size })
    };
    let package = |change: &Difference| {
        let (old, new) = (side(&change.old), side(&change.new));
        json!({ "name": change.name, "change": change.change.name(), "old": old, "new": new })
    };
    let file = |file: &FileChange<'_>| {
        let path = file.path.to_string_lossy();
        json!({ "path": path, "change": file.change, "old": { "size": file.old }, "new": { "size": file.new } })
    };
    json!({
        "old": total(old), "new": total(new),
        "changes": packages.iter().map(package).collect::<Vec<_>>(),
        "files": files.iter().map(file).collect::<Vec<_>>(),
    })
}

/// A line for each package or file: its name, what became of it, versions, and by how much it grew.
fn table(old: &Tree, new: &Tree, packages: &[Difference], files: &[FileChange<'_>]) -> String {
    let file = |file: &FileChange<'_>| {
        let name = file.path.to_string_lossy().replace('\n', "\\u000a");
        let name = firn::log::printable(&name).into_owned();
        [name, file.change.into(), String::new(), growth(file.old, file.new)]
    };
    let rows: Vec<[String; 4]> = packages.iter().map(row).chain(files.iter().map(file)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d] = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [name, change, versions, growth] in &rows {
        text += &format!("{name:<a$}  {change:<b$}  {versions:<c$}  {growth:>d$}\n");
    }
    let total = |tree: &Tree| {
        let files = if tree.files.is_empty() { String::new() } else { format!("{} files, ", tree.files.len()) };
        format!("{} paths, {files}{}", tree.packages.len(), bytes(tree.size()))
    };
    text + &format!("{} -> {} ({})\n", total(old), total(new), growth(old.size(), new.size()))
}

fn row(change: &Difference) -> [String; 4] {
    let versions = |side: &Side| side.versions.iter().cloned().collect::<Vec<_>>().join(", ");
    let (old, new) = (versions(&change.old), versions(&change.new));
    let versions = match (old.is_empty(), new.is_empty()) {
        (true, _) => new,
        (_, true) => old,
        _ if old == new => new,
        _ => format!("{old} -> {new}"),
    };
    [change.name.clone(), change.change.name().into(), versions, growth(change.old.size, change.new.size)]
}
