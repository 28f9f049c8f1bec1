//! `firn-image gc`: what nothing uses is removed.

use super::size::bytes;
use super::store::StoreArgs;
use crate::oci::reference::Reference;
use crate::store::gc::{Garbage, Kind, collect_layout, collect_store};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

const EXAMPLES: &str = "\
Examples:
  What would be removed:
    firn-image gc --dry-run
  After an image is not needed any more:
    firn-image remove nginx:1.28
    firn-image gc
  Of an image layout, what earlier builds have left:
    firn-image gc oci:./images
";

/// Remove blobs that no image refers to, and unpacked layers that nothing uses.
///
/// A layer is kept for an image of the store, for a bundle that was made of an image, as long as it is
/// there, and for what runs, also without its bundle. Waits for other runs of firn-image that use the store,
/// and they wait for this one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GcArgs {
    /// oci:DIR: an image layout instead of the store.
    #[arg(value_name = "LAYOUT", conflicts_with = "layer_store")]
    layout: Option<Reference>,

    #[command(flatten)]
    store: StoreArgs,

    /// Remove nothing; print what would be removed.
    #[arg(long)]
    dry_run: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Removes, and prints what.
pub(super) fn run(args: &GcArgs) -> Result<()> {
    let garbage = match &args.layout {
        None => collect_store(&args.store.open_alone()?, args.dry_run)?,
        Some(Reference::Layout { directory, name }) if name.tag.is_none() && name.digest.is_none() => {
            collect_layout(directory, args.dry_run)?
        }
        Some(other) => bail!("{other}: give oci:DIR, without the name of an image"),
    };
    let text =
        if args.json { format!("{:#}\n", to_json(&garbage, args.dry_run)) } else { table(&garbage, args.dry_run) };
    std::io::stdout().write_all(firn::log::printable(&text).as_bytes()).context("print")
}

/// The files beside layers are not shown.
fn shown(garbage: &[Garbage]) -> impl Iterator<Item = &Garbage> {
    garbage.iter().filter(|one| {
        let name = one.path.file_name().unwrap_or_default();
        one.kind != Kind::Layer || !name.as_encoded_bytes().starts_with(b".")
    })
}

fn total(garbage: &[Garbage]) -> u64 {
    garbage.iter().map(|one| one.size).sum()
}

fn to_json(garbage: &[Garbage], dry_run: bool) -> Value {
    let removed = shown(garbage).map(|one| json!({ "kind": one.kind.name(), "path": one.path, "size": one.size }));
    json!({ "dryRun": dry_run, "removed": removed.collect::<Vec<_>>(), "size": total(garbage) })
}

fn table(garbage: &[Garbage], dry_run: bool) -> String {
    let row = |one: &Garbage| {
        let path = one.path.display().to_string().replace('\n', "\\u000a");
        format!("{:<6}  {:>10}  {path}\n", one.kind.name(), bytes(one.size))
    };
    let count = |kind| shown(garbage).filter(|one| one.kind == kind).count();
    let verb = if dry_run { "would be removed" } else { "removed" };
    let (blobs, layers) = (count(Kind::Blob), count(Kind::Layer));
    let text: String = shown(garbage).map(row).collect();
    text + &format!("{blobs} blobs, {layers} layers {verb}: {}\n", bytes(total(garbage)))
}
