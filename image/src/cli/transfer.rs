//! Images from place to place, for `copy`, `pull` and `push`.

use crate::oci::reference::{ImageName, Reference, RegistryName};
use crate::oci::target::Target;
use crate::source::image::ImageSource;
use crate::store::archive::make_archive;
use crate::store::import::import;
use crate::store::layout::LayoutWriter;
use crate::store::pull::pull;
use crate::store::push::push;
use crate::store::scratch::{self, Scratch};
use crate::store::transfer::Transfer;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::Write;

/// Copies an image as it is.
pub(super) fn copy(source: &Reference, target: &Target) -> Result<Transfer> {
    match (source, target) {
        (Reference::Registry(name), Target::Layout { directory, tag }) => {
            Ok(pull(name, &LayoutWriter::open(directory)?, Some(tag))?)
        }
        (Reference::Registry(name), _) => {
            let scratch = Scratch::new()?;
            let directory = scratch.layout();
            let fetched = pull(name, &LayoutWriter::open(&directory)?, None)?;
            let name = ImageName { tag: None, digest: Some(fetched.digest) };
            copy_local(&ImageSource::open(&Reference::Layout { directory, name }, scratch.path())?, target)
        }
        _ => copy_local(&ImageSource::open(source, &scratch::place())?, target),
    }
}

/// The same of an image that was opened.
pub(super) fn copy_local(source: &ImageSource, target: &Target) -> Result<Transfer> {
    match target {
        Target::Layout { directory, tag } => Ok(import(source, &LayoutWriter::open(directory)?, Some(tag))?),
        Target::Archive { file, tag } => make_archive(file, |layout| Ok(import(source, layout, tag.as_deref())?)),
        Target::Registry(name) => send(source, name),
    }
}

fn send(source: &ImageSource, name: &RegistryName) -> Result<Transfer> {
    if let Some(manifest) = source.manifest()? {
        return Ok(push(&manifest, source.blobs(), name)?);
    }
    // It gets one.
    let scratch = Scratch::new()?;
    let directory = scratch.layout();
    let made = import(source, &LayoutWriter::open(&directory)?, None)?;
    let image = ImageName { tag: None, digest: Some(made.digest) };
    let made = ImageSource::open(&Reference::Layout { directory, name: image }, scratch.path())?;
    let manifest = made.manifest()?.context("the image has no manifest")?;
    Ok(push(&manifest, made.blobs(), name)?)
}

/// Prints the digest of the image's manifest, or JSON.
pub(super) fn print(transfer: &Transfer, json: bool) -> Result<()> {
    let text = if json { format!("{:#}\n", to_json(transfer)) } else { format!("{}\n", transfer.digest) };
    std::io::stdout().write_all(text.as_bytes()).context("print")
}

fn to_json(transfer: &Transfer) -> Value {
    let blobs =
        transfer.blobs.iter().map(|blob| json!({ "digest": blob.digest, "size": blob.size, "way": blob.way.name() }));
    json!({ "digest": transfer.digest, "blobs": blobs.collect::<Vec<_>>() })
}
