//! `firn-image list`: the images of the store or of a layout.

use super::size::bytes;
use super::store::StoreArgs;
use crate::oci::reference::Reference;
use crate::store::bundle_records::{UsedBy, made_from};
use crate::store::list::{Facts, ListedImage, list};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// List the images of the store, with the bundles that were made of them, or those of a layout.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// oci:DIR: an image layout instead of the store.
    #[arg(value_name = "LAYOUT", conflicts_with = "layer_store")]
    layout: Option<Reference>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Prints the list.
pub(super) fn run(args: &ListArgs) -> Result<()> {
    let (images, bundles) = match &args.layout {
        Some(Reference::Layout { directory, name }) if name.tag.is_none() && name.digest.is_none() => {
            (list(directory)?, Vec::new())
        }
        Some(other) => bail!("{other}: give oci:DIR, without the name of an image"),
        // None was pulled yet.
        None if !args.store.place().join("images/index.json").exists() => (Vec::new(), Vec::new()),
        None => {
            let store = args.store.open()?;
            (list(&store.images())?, store.bundles()?)
        }
    };
    let text = if args.json {
        let all: Vec<Value> = images.iter().map(|image| to_json(image, &bundles_of(image, &bundles))).collect();
        format!("{:#}\n", Value::Array(all))
    } else {
        table(&images, &bundles)
    };
    std::io::stdout().write_all(firn::log::printable(&text).as_bytes()).context("print")
}

fn bundles_of<'a>(image: &ListedImage, bundles: &'a [UsedBy]) -> Vec<&'a Path> {
    match &image.facts {
        Ok(Facts { manifest: Some(digest), .. }) => made_from(bundles, digest),
        _ => Vec::new(),
    }
}

fn to_json(image: &ListedImage, bundles: &[&Path]) -> Value {
    let mut value = json!({ "name": image.tag, "digest": image.digest, "bundles": bundles });
    match &image.facts {
        Ok(facts) => {
            value["size"] = json!(facts.size);
            value["created"] = json!(facts.created);
            value["layers"] = json!(facts.layers);
        }
        Err(error) => value["error"] = json!(error),
    }
    value
}

fn table(images: &[ListedImage], bundles: &[UsedBy]) -> String {
    let mut rows = vec![["NAME", "DIGEST", "SIZE", "CREATED", "BUNDLES"].map(str::to_owned)];
    rows.extend(images.iter().map(|image| {
        let name = image.tag.as_deref().unwrap_or("-").replace('\n', "\\u000a");
        let digest = image.digest.as_ref().get(..19).unwrap_or(image.digest.as_ref()).to_owned();
        let bundles = bundles_of(image, bundles).len().to_string();
        match &image.facts {
            Ok(facts) => {
                let created = facts.created.as_deref().unwrap_or("-").replace('\n', "\\u000a");
                [name, digest, bytes(facts.size), created, bundles]
            }
            Err(error) => [name, digest, "-".into(), error.replace('\n', "\\u000a"), bundles],
        }
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d] = [width(0), width(1), width(2), width(3)];
    let line = |[name, digest, size, created, bundles]: &[String; 5]| {
        format!("{name:<a$}  {digest:<b$}  {size:>c$}  {created:<d$}  {bundles}\n")
    };
    rows.iter().map(line).collect()
}
