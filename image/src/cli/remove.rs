//! `firn-image remove`: an image loses its name.

use super::store::{Place, StoreArgs};
use crate::oci::reference::Reference;
use crate::store::layout::LayoutWriter;
use anyhow::{Result, bail};
use clap::Args;

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
}

/// Removes them.
pub(super) fn run(args: &RemoveArgs) -> Result<()> {
    for image in &args.images {
        match image {
            Place::Store(name) => {
                // Nobody else is between fetching it and reading it.
                let store = args.store.open_alone()?;
                remove(&name.in_store(&store))?;
            }
            Place::Elsewhere(reference) => remove(reference)?,
        }
    }
    Ok(())
}

fn remove(reference: &Reference) -> Result<()> {
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
    match &layout.remove_images(name.tag.as_deref(), name.digest.as_ref())?[..] {
        [] => bail!("remove {reference}: there is no such image"),
        _ => Ok(()),
    }
}
