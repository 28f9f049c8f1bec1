//! Builds an image and moves it to its place.

use super::config::{CONFIG_TYPE, MANIFEST_TYPE, config, descriptor, manifest};
use super::layers::{LayerError, WrittenLayer, known_layers, write_all};
use super::plan::Plan;
use crate::oci::graph::GraphError;
use crate::oci::reference::{ImageName, Reference, RegistryName};
use crate::oci::target::Target;
use crate::source::image::{ImageSource, SourceError};
use crate::source::nix::NixError;
use crate::store::archive::{ArchiveError, make_archive};
use crate::store::gcroots;
use crate::store::layout::{LayoutError, LayoutWriter};
use crate::store::push::{PushError, find_present, push};
use crate::store::scratch::{Scratch, ScratchError};
use oci_spec::image::Digest;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error(transparent)]
    Push(#[from] PushError),
}

/// An image in its place.
#[derive(Debug)]
pub(crate) struct Built {
    /// Of its manifest.
    pub(crate) digest: Digest,
    pub(crate) layers: Vec<WrittenLayer>,
}

/// Builds the image.
pub(crate) fn publish(plan: &Plan) -> Result<Built, PublishError> {
    match &plan.target {
        Target::Layout { directory, tag } => write_image(plan, &LayoutWriter::open(directory)?, Some(tag), &[]),
        Target::Archive { file, tag } => make_archive(file, |layout| write_image(plan, layout, tag.as_deref(), &[])),
        Target::Registry(name) => send_image(plan, name),
    }
}

/// Builds the image in a directory of its own and sends it. What the registry has from an earlier build is
/// neither packed nor sent.
fn send_image(plan: &Plan, name: &RegistryName) -> Result<Built, PublishError> {
    // Also where nothing is known: a registry that refuses us does so before anything is packed.
    let present = find_present(&known_layers(plan), name)?;
    let scratch = Scratch::new()?;
    let directory = scratch.layout();
    let built = write_image(plan, &LayoutWriter::temporary(&directory)?, None, &present)?;
    let image = ImageName { tag: None, digest: Some(built.digest.clone()) };
    let source = ImageSource::open(&Reference::Layout { directory, name: image }, None, scratch.path())?;
    if let Some(manifest) = source.manifest()? {
        push(&manifest, source.blobs(), name)?;
    }
    Ok(built)
}

/// Layers first, then what refers to them. Layers that are `present` where the image goes are not packed.
fn write_image(
    plan: &Plan,
    layout: &LayoutWriter,
    tag: Option<&str>,
    present: &[Digest],
) -> Result<Built, PublishError> {
    gcroots::hold(layout.staging(), &plan.store, &plan.roots)?;
    let layers = write_all(plan, layout, present)?;
    let config = layout.add_document(&config(plan, &layers))?;
    let config = descriptor(CONFIG_TYPE, config.digest.as_ref(), config.size);
    let manifest = layout.add_document(&manifest(plan, config, &layers))?;
    layout.set_image(descriptor(MANIFEST_TYPE, manifest.digest.as_ref(), manifest.size), tag)?;
    Ok(Built { digest: manifest.digest, layers })
}
