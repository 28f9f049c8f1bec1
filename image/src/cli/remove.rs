//! `firn-image remove`: an image loses its name.

use super::store::{Place, StoreArgs};
use crate::oci::reference::Reference;
use crate::store::layout::LayoutWriter;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;

/// Take images out of the store, or out of a layout.
///
/// Bundles that were made of them stay as they are. Their blobs and layers are removed by firn-image gc, as
/// far as nothing else uses them.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// [docker://][REGISTRY/]NAME[:TAG|@DIGEST] of the store, as firn-image list shows it, or
    /// oci:DIR:TAG, or oci:DIR@DIGEST.
    #[arg(value_name = "REFERENCE", required = true)]
    images: Vec<Place>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print the digests of what was removed as JSON.
    #[arg(long)]
    json: bool,
}

/// Removes them, up to the first that is not there.
pub(super) fn run(args: &RemoveArgs) -> Result<()> {
    let mut removed = Vec::new();
    let all = args.images.iter().try_for_each(|image| {
        removed.extend(remove_from(image, &args.store)?);
        Ok(())
    });
    if args.json {
        let text = format!("{:#}\n", json!({ "removed": removed }));
        std::io::stdout().write_all(firn::log::printable(&text).as_bytes()).context("print")?;
    }
    all
}

/// What was removed: its name as it was given, and its digest.
fn remove_from(place: &Place, store: &StoreArgs) -> Result<Vec<Value>> {
    let (name, digests) = match place {
        Place::Store(name) => {
            // Nobody else is between fetching it and reading it.
            let store = store.open_alone()?;
            (name.0.whole(), remove(&name.in_store(&store))?)
        }
        Place::Elsewhere(reference) => (reference.to_string(), remove(reference)?),
    };
    Ok(digests.into_iter().map(|digest| json!({ "name": name, "digest": digest })).collect())
}

/// The digests of what was removed.
fn remove(reference: &Reference) -> Result<Vec<String>> {
    let Reference::Layout { directory, name } = reference else {
        bail!("remove {reference}: an archive has one image: delete the file");
    };
    if name.tag.is_none() && name.digest.is_none() {
        bail!("remove {reference}: give a tag or a digest");
    }
    if !directory.join("index.json").is_file() {
        bail!("remove {reference}: there is no such image");
    }
    let layout = LayoutWriter::open(directory)?;
    let removed = layout.remove_images(name.tag.as_deref(), name.digest.as_ref())?;
    if removed.is_empty() {
        bail!("remove {reference}: there is no such image");
    }
    Ok(removed)
}
