//! `firn-image diff`: what has changed from one closure to another.

use crate::source::nix::closure::Closure;
use crate::source::nix::difference::{Difference, Side, Sizes, compare};
use crate::source::nix::store_path::{LOGICAL_STORE, Store, StorePath};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  What an update of a NixOS system brings:
    firn-image diff /run/current-system ./result
  Without Nix, by lists of closureInfo:
    firn-image diff ./old ./new --old-store-paths old.list --new-store-paths new.list
";

/// Compare two closures: packages added, removed, rebuilt or with other versions, and sizes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiffArgs {
    /// Store path, or a link to one.
    old: PathBuf,

    /// Store path, or a link to one.
    new: PathBuf,

    /// List of the store paths of OLD's closure, in any form that `build` takes.
    #[arg(long, value_name = "FILE")]
    old_store_paths: Option<PathBuf>,

    /// List of the store paths of NEW's closure.
    #[arg(long, value_name = "FILE")]
    new_store_paths: Option<PathBuf>,

    /// The store on the host: ROOT/nix/store.
    #[arg(long, value_name = "DIR", default_value = LOGICAL_STORE)]
    store: PathBuf,

    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Prints the differences.
pub(super) fn run(args: &DiffArgs) -> Result<()> {
    let store = Store::at(&args.store)?;
    let old = sizes(&args.old, args.old_store_paths.as_deref(), &store)?;
    let new = sizes(&args.new, args.new_store_paths.as_deref(), &store)?;
    let changes = compare(&old, &new);
    let text = if args.json { format!("{:#}\n", to_json(&old, &new, &changes)) } else { table(&old, &new, &changes) };
    std::io::stdout().write_all(text.as_bytes()).context("print")
}

/// The store paths of a closure, with the bytes of their files.
fn sizes(given: &Path, list: Option<&Path>, store: &Store) -> Result<Sizes> {
    let transport = given.to_str().and_then(|given| given.split_once(':')).map(|(transport, _)| transport);
    if matches!(transport, Some("oci" | "oci-archive" | "docker" | "docker-archive")) {
        bail!("{}: images are not compared yet: give two store paths", given.display());
    }
    let closure = Closure::find(given, list, store)?;
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

fn to_json(old: &Sizes, new: &Sizes, changes: &[Difference]) -> Value {
    let total = |sizes: &Sizes| json!({ "paths": sizes.len(), "size": sizes.values().sum::<u64>() });
    let side = |side: &Side| {
        let paths: Vec<String> = side.paths.iter().map(StorePath::to_string).collect();
        json!({ "versions": side.versions, "paths": paths, "size": side.size })
    };
    let changes: Vec<Value> = changes
        .iter()
        .map(|change| {
            let (old, new) = (side(&change.old), side(&change.new));
            json!({ "name": change.name, "change": change.change.name(), "old": old, "new": new })
        })
        .collect();
    json!({ "old": total(old), "new": total(new), "changes": changes })
}

/// A line for each package: its name, what became of it, versions, and by how much it grew.
fn table(old: &Sizes, new: &Sizes, changes: &[Difference]) -> String {
    let rows: Vec<[String; 4]> = changes.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [name, change, versions, growth] in &rows {
        let [a, b, c, d] = widths;
        text += &format!("{name:<a$}  {change:<b$}  {versions:<c$}  {growth:>d$}\n");
    }
    let total = |sizes: &Sizes| sizes.values().sum::<u64>();
    let growth = growth(total(old), total(new));
    text + &format!(
        "{} paths, {} -> {} paths, {} ({growth})\n",
        old.len(),
        bytes(total(old)),
        new.len(),
        bytes(total(new)),
    )
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

fn growth(old: u64, new: u64) -> String {
    if new >= old { format!("+{}", bytes(new - old)) } else { format!("-{}", bytes(old - new)) }
}

fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        // Tenths in integers, rounded down.
        Some((unit, name)) => format!("{}.{} {name}", count / unit, count % unit * 10 / unit),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes((5 << 20) + (1 << 19)), "5.5 MiB");
        assert_eq!((growth(10, 4), growth(4, 10), growth(4, 4)), ("-6 B".into(), "+6 B".into(), "+0 B".into()));
    }
}
