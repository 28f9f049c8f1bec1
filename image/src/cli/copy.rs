//! `firn-image copy`: an image from one place to another, as it is.

use crate::oci::reference::{Reference, RegistryName};
use crate::oci::target::Target;
use crate::store::layout::LayoutWriter;
use crate::store::pull::pull;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::str::FromStr;

const EXAMPLES: &str = "\
Examples:
  Fetch an image of Docker Hub into an image layout:
    firn-image copy docker://alpine:3.20 oci:./images:alpine
  From a registry on this machine, which speaks plain HTTP:
    firn-image copy docker://localhost:5000/web@sha256:… oci:./images:web

Credentials are those of `podman login` and `docker login` (containers-auth.json(5)); mirrors, blocks and
registries without TLS those of registries.conf (containers-registries.conf(5)).
";

/// Copy an image from a registry into an image layout.
///
/// Of an index, the image for this machine is copied. Every blob is verified; blobs that the layout has
/// are not fetched again. Prints the digest of the image's manifest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CopyArgs {
    /// docker://[REGISTRY/]NAME[:TAG|@DIGEST]
    #[arg(value_name = "SOURCE")]
    source: Source,

    /// oci:DIR:TAG
    #[arg(value_name = "TARGET")]
    target: Target,
}

/// Where an image is copied from.
#[derive(Debug, Clone)]
struct Source(RegistryName);

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Reference::Registry(name) => Ok(Self(name)),
            _ => Err("give docker://[REGISTRY/]NAME[:TAG|@DIGEST]".into()),
        }
    }
}

/// Copies the image.
pub(super) fn run(args: &CopyArgs) -> Result<()> {
    let Target::Layout { directory, tag } = &args.target else {
        bail!("an image is copied into an image layout: give oci:DIR:TAG");
    };
    let layout = LayoutWriter::open(directory)?;
    let digest = pull(&args.source.0, &layout, Some(tag)).with_context(|| format!("copy {}", args.source.0))?;
    println!("{digest}");
    Ok(())
}
