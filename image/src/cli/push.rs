//! `firn-image push`: an image of the store to a registry.

use super::store::{Name, StoreArgs};
use super::transfer;
use crate::oci::target::Target;
use crate::source::image::ImageSource;
use anyhow::{Context, Result, bail};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  An image of Docker Hub for a registry of one's own:
    firn-image pull nginx:1.29
    firn-image push nginx:1.29 registry.example/nginx:1.29
";

/// Send an image of the store to a registry: firn-image copy for those that were pulled.
///
/// Blobs that the registry has are not sent. Prints the digest of the image's manifest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PushArgs {
    /// [docker://][REGISTRY/]NAME[:TAG|@DIGEST] of an image that is in the store.
    #[arg(value_name = "NAME")]
    name: Name,

    /// [docker://][REGISTRY/]NAME[:TAG], if it has another name there.
    #[arg(value_name = "TARGET")]
    target: Option<Name>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print the digest and what became of each blob as JSON.
    #[arg(long)]
    json: bool,
}

/// Sends the image.
pub(super) fn run(args: &PushArgs) -> Result<()> {
    let Name(target) = args.target.as_ref().unwrap_or(&args.name);
    if target.digest().is_some() {
        bail!("docker://{target}: a registry gives digests itself: name the image by a tag");
    }
    let store = args.store.open()?;
    let what = || format!("push {}", args.name.0);
    let source = ImageSource::open(&args.name.in_store(&store), None, store.root()).with_context(what)?;
    let sent = transfer::copy_local(&source, &Target::Registry(target.clone())).with_context(what)?;
    transfer::print(&sent, args.json)
}
