//! Images from place to place, for `copy`, `pull` and `push`.

use crate::oci::platform::Platform;
use crate::oci::reference::{ImageName, Reference, RegistryName};
use crate::oci::target::Target;
use crate::source::image::ImageSource;
use crate::store::archive::make_archive;
use crate::store::import::import;
use crate::store::layout::LayoutWriter;
use crate::store::pull::{Parts, Wanted, pull};
use crate::store::push::push;
use crate::store::scratch::{self, Scratch};
use crate::store::transfer::Transfer;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::Write;

/// Copies an image as it is; of an index the one for `platform`, or for this machine.
pub(super) fn copy(source: &Reference, platform: Option<&Platform>, target: &Target) -> Result<Transfer> {
    match (source, target) {
        (Reference::Registry(name), Target::Layout { directory, tag }) => {
            let wanted = Wanted { name, platform, parts: Parts::All };
            Ok(pull(wanted, &LayoutWriter::open(directory)?, Some(tag), None)?)
        }
        _ => copy_local(&open(source, platform, Parts::All)?.source, target),
    }
}

/// An image that can be read.
pub(super) struct OpenImage {
    pub(super) source: ImageSource,
    /// Where one of a registry is meanwhile.
    _scratch: Option<Scratch>,
}

/// Opens an image, wherever it is.
pub(super) fn open(reference: &Reference, platform: Option<&Platform>, parts: Parts) -> Result<OpenImage> {
    let Reference::Registry(name) = reference else {
        let source = ImageSource::open(reference, platform, &scratch::place())?;
        return Ok(OpenImage { source, _scratch: None });
    };
    let scratch = Scratch::new()?;
    let directory = scratch.layout();
    let wanted = Wanted { name, platform, parts };
    let fetched = pull(wanted, &LayoutWriter::temporary(&directory)?, None, None)?;
    let name = ImageName { tag: None, digest: Some(fetched.digest) };
    let source = ImageSource::open(&Reference::Layout { directory, name }, None, scratch.path())?;
    Ok(OpenImage { source, _scratch: Some(scratch) })
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
    let made = import(source, &LayoutWriter::temporary(&directory)?, None)?;
    let image = ImageName { tag: None, digest: Some(made.digest) };
    let made = ImageSource::open(&Reference::Layout { directory, name: image }, None, scratch.path())?;
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
