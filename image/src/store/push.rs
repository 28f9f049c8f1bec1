//! Sends an image to a registry: the blobs that it lacks, and then the manifest, which makes an image of
//! them. When that fails or is killed, the registry has the images of before.

use super::blob_places::BlobPlaces;
use super::transfer::{MovedBlob, Transfer, Way, distinct};
use crate::oci::graph::Blobs;
use crate::progress::Progress;
use crate::source::image::Manifest;
use crate::source::registry::client::{Purpose, Session, describe, is_unanswered, schemes, wants_tls};
use crate::source::registry::credentials::{self, CredentialsError};
use crate::source::registry::registries_conf::{Endpoint, Registries, RegistriesError};
use crate::source::registry::upload::SendError;
use futures_util::{StreamExt, TryStreamExt};
use oci_client::Reference;
use oci_client::errors::OciDistributionError;
use oci_spec::image::{Descriptor, Digest};
use std::io;

/// Blobs that are sent at a time.
const PARALLEL: usize = 3;

/// Why an image was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("docker://{0}: a registry gives digests itself: name the image by a tag")]
    Digest(Reference),
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{what} to {image}: {}", describe(.source))]
    Request { what: String, image: String, source: Box<OciDistributionError> },
    #[error("read blob {digest}")]
    Read { digest: Digest, source: io::Error },
    #[error("start the client")]
    Runtime(#[source] io::Error),
}

/// Sends an image to `name`, with the blobs that the registry lacks from `blobs`.
pub(crate) fn push(image: &Manifest, blobs: &dyn Blobs, name: &Reference) -> Result<Transfer, PushError> {
    let places = BlobPlaces::of_user();
    connect(name, async |push| push.send_image(image, blobs, &places).await)
}

/// Those of the blobs that the registry has in the repository of `name`.
pub(crate) fn find_present(digests: &[Digest], name: &Reference) -> Result<Vec<Digest>, PushError> {
    connect(name, async |push| {
        let asked = futures_util::stream::iter(digests.iter().map(async |digest| {
            let has = push.session.has_blob(digest).await;
            let has = has.map_err(|source| push.failed(format!("question for blob {digest}"), source))?;
            Ok::<_, PushError>(has.then(|| digest.clone()))
        }));
        let found: Vec<_> = asked.buffer_unordered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    })
}

/// Does something with the registry of `name`, over HTTPS or HTTP as [`schemes`] says.
fn connect<T>(name: &Reference, work: impl AsyncFn(&Connection<'_>) -> Result<T, PushError>) -> Result<T, PushError> {
    if name.digest().is_some() {
        return Err(PushError::Digest(name.clone()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PushError::Runtime)?;
    let endpoint = Registries::read()?.origin(name.registry(), name.repository())?;
    let mut first = None;
    let schemes = schemes(&endpoint);
    for (number, is_plain) in schemes.iter().enumerate() {
        let credentials = credentials::find(&credentials::files(), &endpoint.registry, &endpoint.repository)?;
        let failed = |source| PushError::Request { what: "connection".into(), image: name.whole(), source };
        let session = Session::new(&endpoint, name, credentials, *is_plain, Purpose::Push);
        let connection =
            Connection { session: session.map_err(|error| failed(Box::new(error)))?, endpoint: &endpoint, name };
        let result = runtime.block_on(async {
            connection.session.log_in().await.map_err(|source| connection.failed("connection".into(), source))?;
            work(&connection).await
        });
        match result {
            // The answer over HTTPS, which comes next, is the one that counts.
            Err(PushError::Request { source, .. }) if wants_tls(&source, *is_plain) && number + 1 < schemes.len() => {}
            // It may speak the other one.
            Err(PushError::Request { what, image, source }) if is_unanswered(&source) => {
                first.get_or_insert(PushError::Request { what, image, source });
            }
            result => return result,
        }
    }
    Err(first.unwrap_or_else(|| PushError::Runtime(io::ErrorKind::Unsupported.into())))
}

struct Connection<'a> {
    session: Session,
    endpoint: &'a Endpoint,
    name: &'a Reference,
}

impl Connection<'_> {
    fn failed(&self, what: String, source: OciDistributionError) -> PushError {
        PushError::Request { what, image: self.name.whole(), source: Box::new(source) }
    }

    async fn send_image(
        &self,
        image: &Manifest,
        blobs: &dyn Blobs,
        places: &BlobPlaces,
    ) -> Result<Transfer, PushError> {
        let wanted = distinct(std::iter::once(image.document.config()).chain(image.document.layers()));
        let progress = Progress::of_bytes("send", wanted.iter().map(|blob| blob.size()).sum());
        let sends = wanted.into_iter().map(async |blob| {
            let way = self.send_blob(blob, blobs, places, &progress).await?;
            places.keep(&self.endpoint.registry, &self.endpoint.repository, blob.digest());
            Ok::<_, PushError>(MovedBlob::new(blob, way))
        });
        let moved = futures_util::stream::iter(sends).buffered(PARALLEL).try_collect().await?;
        let media_type = image.descriptor.media_type().to_string();
        let put = self.session.put_manifest(&image.bytes, &media_type).await;
        put.map_err(|source| self.failed("manifest".into(), source))?;
        Ok(Transfer { digest: image.descriptor.digest().clone(), blobs: moved })
    }

    async fn send_blob(
        &self,
        blob: &Descriptor,
        blobs: &dyn Blobs,
        places: &BlobPlaces,
        progress: &Progress,
    ) -> Result<Way, PushError> {
        let digest = blob.digest();
        let failed = |source| self.failed(format!("blob {digest}"), source);
        if self.session.has_blob(digest).await.map_err(failed)? {
            progress.add(blob.size());
            return Ok(Way::Present);
        }
        let known = places.find(&self.endpoint.registry, digest);
        for repository in known.iter().filter(|repository| **repository != self.endpoint.repository) {
            if self.session.mount(digest, repository).await {
                progress.add(blob.size());
                return Ok(Way::Mounted);
            }
        }
        match self.session.send(blob, || blobs.open(digest), progress).await {
            Ok(()) => Ok(Way::Moved),
            Err(SendError::Read(source)) => Err(PushError::Read { digest: digest.clone(), source }),
            Err(SendError::Registry(source)) => Err(failed(source)),
        }
    }
}
