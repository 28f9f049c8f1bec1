//! Builds an image and moves it to its place.

use super::config::{CONFIG_TYPE, MANIFEST_TYPE, config, descriptor, manifest};
use super::layers::{LayerError, WrittenLayer, write_all};
use super::plan::Plan;
use crate::layer::pack::{PackError, Packer, Rules};
use crate::oci::target::Target;
use crate::source::nix::NixError;
use crate::store::gcroots;
use crate::store::layout::{LayoutError, LayoutWriter};
use crate::store::staging::StagingDir;
use oci_spec::image::Digest;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("write archive {path}")]
    Archive { path: PathBuf, source: PackError },
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
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
        Target::Layout { directory, tag } => write_image(plan, &LayoutWriter::open(directory)?, Some(tag)),
        Target::Archive { file, tag } => {
            let file = &std::path::absolute(file).map_err(io_error("find", file))?;
            let staging = StagingDir::beside(file).map_err(io_error("make a directory beside", file))?;
            let directory = staging.path().join("layout");
            let built = write_image(plan, &LayoutWriter::open(&directory)?, tag.as_deref())?;
            let archive = staging.path().join("archive");
            pack(&directory, &archive)?;
            fs::rename(&archive, file).map_err(io_error("make", file))?;
            Ok(built)
        }
    }
}

/// Layers first, then what refers to them.
fn write_image(plan: &Plan, layout: &LayoutWriter, tag: Option<&str>) -> Result<Built, PublishError> {
    gcroots::hold(layout.staging(), &plan.store, &plan.roots)?;
    let layers = write_all(plan, layout)?;
    let config = layout.add_document(&config(plan, &layers))?;
    let config = descriptor(CONFIG_TYPE, config.digest.as_ref(), config.size);
    let manifest = layout.add_document(&manifest(plan, config, &layers))?;
    layout.set_image(descriptor(MANIFEST_TYPE, manifest.digest.as_ref(), manifest.size), tag)?;
    Ok(Built { digest: manifest.digest, layers })
}

/// The layout as an archive: the same bytes for the same image.
fn pack(layout: &Path, archive: &Path) -> Result<(), PublishError> {
    let failed = |source| PublishError::Archive { path: archive.to_owned(), source };
    let file = File::create_new(archive).map_err(io_error("make", archive))?;
    let mut packer = Packer::new(BufWriter::with_capacity(128 << 10, file), Rules::Archive);
    packer.pack_root(layout).map_err(failed)?;
    let (file, _) = packer.finish().map_err(failed)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error).map_err(io_error("write", archive))?;
    file.sync_all().map_err(io_error("write", archive))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PublishError + use<> {
    let path = path.to_owned();
    move |source| PublishError::Io { operation, path, source }
}
