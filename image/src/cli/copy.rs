//! `firn-image copy`: an image from one place to another, as it is.

use super::transfer;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::target::Target;
use anyhow::{Context, Result};
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  Fetch an image of Docker Hub into an image layout:
    firn-image copy docker://alpine:3.20 oci:./images:alpine
  From a registry on this machine, which speaks plain HTTP:
    firn-image copy docker://localhost:5000/web@sha256:… oci:./images:web
  To a registry; blobs that it has are not sent:
    firn-image copy oci:./images:web docker://registry.example/team/web:2
  From what podman save has written, as a file for others:
    firn-image copy docker-archive:web.tar oci-archive:web-oci.tar:latest

Credentials are those of `podman login` and `docker login` (containers-auth.json(5)); mirrors, blocks and
registries without TLS those of registries.conf (containers-registries.conf(5)). Nothing is sent to mirrors.
";

/// Copy an image between registries, image layouts and archives.
///
/// Of an index, the image for this machine is copied, or for another platform. Every blob is verified; blobs that the target has
/// are not copied again. Prints the digest of the image's manifest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CopyArgs {
    /// docker://[REGISTRY/]NAME[:TAG|@DIGEST], oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG|@DIGEST] or
    /// docker-archive:FILE[:NAME]
    #[arg(value_name = "SOURCE")]
    source: Reference,

    /// oci:DIR:TAG, oci-archive:FILE[:TAG] or docker://[REGISTRY/]NAME[:TAG]
    #[arg(value_name = "TARGET")]
    target: Target,

    /// The image for this platform instead of this machine's: [linux/]ARCHITECTURE[/VARIANT].
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Print the digest and what became of each blob as JSON.
    #[arg(long)]
    json: bool,
}

/// Copies the image.
pub(super) fn run(args: &CopyArgs) -> Result<()> {
    let copied = transfer::copy(&args.source, args.platform.as_ref(), &args.target);
    let transfer = copied.with_context(|| format!("copy {}", args.source))?;
    transfer::print(&transfer, args.json)
}
