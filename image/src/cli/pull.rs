//! `firn-image pull`: an image of a registry into the store.

use super::store::{Name, StoreArgs};
use super::transfer;
use crate::oci::platform::Platform;
use crate::source::image::ImageSource;
use crate::store::layers::LayerStore;
use crate::store::layout::LayoutWriter;
use crate::store::pull::{Parts, Wanted, pull};
use crate::store::transfer::Transfer;
use anyhow::{Context, Result};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  Fetch an image, so that a bundle of it is made at once:
    firn-image pull nginx:1.29
    firn-image bundle docker://nginx:1.29 --output /run/bundles/nginx
  For another machine:
    firn-image pull --platform linux/arm64 nginx:1.29
";

/// Fetch an image of a registry into the store, and unpack its layers.
///
/// Of an index, the image for this machine is fetched, or for another platform; the store has one of them
/// by the name. What is there is not fetched again. Prints the digest of the image's manifest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PullArgs {
    /// [docker://][REGISTRY/]NAME[:TAG|@DIGEST]; docker.io's if there is no registry.
    #[arg(value_name = "NAME")]
    name: Name,

    /// The image for this platform instead of this machine's: [linux/]ARCHITECTURE[/VARIANT].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print the digest and what became of each blob as JSON.
    #[arg(long)]
    json: bool,
}

/// Fetches and unpacks.
pub(super) fn run(args: &PullArgs) -> Result<()> {
    let store = args.store.open()?;
    let fetched = fetch(&args.name, args.platform.as_ref(), &store)?;
    let source = ImageSource::open(&args.name.in_store(&store), None, store.root())?;
    let layers = source.image.distinct_layers();
    store.unpack(source.blobs(), &layers).with_context(|| format!("unpack docker://{}", args.name.0))?;
    transfer::print(&fetched, args.json)
}

/// Fetches an image into the store's layout. Its layers are unpacked when they have come.
pub(super) fn fetch(Name(name): &Name, platform: Option<&Platform>, store: &LayerStore) -> Result<Transfer> {
    let layout = LayoutWriter::open(&store.images())?;
    let wanted = Wanted { name, platform, parts: Parts::All };
    let fetch = |arrivals: &_| pull(wanted, &layout, Some(&name.whole()), Some(arrivals));
    store.unpack_while(fetch).with_context(|| format!("fetch docker://{name}"))
}
