//! Fetches an image of a registry into a layout. Each blob is verified against the descriptor that
//! names it; one that is there already is not fetched again.

use super::arriving::Arrival;
use super::blob_places::BlobPlaces;
use super::layout::{BlobWriter, LayoutError, LayoutWriter};
use super::transfer::{MovedBlob, Transfer, Way, distinct};
use crate::oci::platform::{NoPlatform, Platform, choose};
use crate::progress::Progress;
use crate::source::registry::client::{
    MANIFESTS, Purpose, Session, TRIES, describe, is_unanswered, may_pass, pause, retried, schemes, wants_tls,
};
use crate::source::registry::credentials::{self, CredentialsError};
use crate::source::registry::registries_conf::{Endpoint, Registries, RegistriesError};
use futures_util::{StreamExt, TryStreamExt};
use oci_client::Reference;
use oci_client::client::BlobResponse;
use oci_client::errors::OciDistributionError;
use oci_spec::image::{Descriptor, Digest, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::Sender;

/// Blobs that are fetched at a time.
const PARALLEL: usize = 3;
/// Bytes of a manifest at most.
const MANIFEST_LIMIT: usize = 4 << 20;

/// Which image is fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a Reference,
    /// Of an index the image for this machine where there is none; else any image must be for it.
    pub(crate) platform: Option<&'a Platform>,
    pub(crate) parts: Parts,
}

/// What is fetched of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    All,
    /// The manifest and the config, without layers.
    Documents,
}

/// Why an image was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{}", .0.join("; "))]
    Places(Vec<String>),
    #[error("{what} of {image}: {}", describe(.source))]
    Request { what: String, image: String, source: Box<OciDistributionError> },
    #[error("manifest of {image}: {reason}")]
    Manifest { image: String, reason: String },
    #[error("blob {digest} of {image}: {reason}")]
    Blob { digest: Digest, image: String, reason: String },
    #[error("write blob {digest}")]
    Write { digest: Digest, source: io::Error },
    #[error("{image}")]
    Platform { image: String, source: NoPlatform },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("start the client")]
    Runtime(#[source] io::Error),
}

/// Fetches an image into `layout`, in which it gets the tag `tag`. From the first place that has it: mirrors
/// first. What comes is told to `arrivals`, which can read it while it comes.
pub(crate) fn pull(
    wanted: Wanted<'_>,
    layout: &LayoutWriter,
    tag: Option<&str>,
    arrivals: Option<&Sender<Arrival>>,
) -> Result<Transfer, PullError> {
    let name = wanted.name;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PullError::Runtime)?;
    let registries = Registries::read()?;
    let endpoints = registries.endpoints(name.registry(), name.repository(), name.digest().is_some())?;
    let mut failures = Vec::new();
    for endpoint in &endpoints {
        let before = failures.len();
        let schemes = schemes(endpoint);
        for (number, is_plain) in schemes.iter().enumerate() {
            match runtime.block_on(pull_from(endpoint, *is_plain, wanted, layout, arrivals)) {
                Ok((manifest, blobs)) => {
                    let value = serde_json::to_value(&manifest)
                        .map_err(|error| PullError::Manifest { image: name.whole(), reason: error.to_string() })?;
                    layout.set_image(value, tag)?;
                    return Ok(Transfer { digest: manifest.digest().clone(), blobs });
                }
                // The answer over HTTPS, which comes next, is the one that counts.
                Err(PullError::Request { source, .. })
                    if wants_tls(&source, *is_plain) && number + 1 < schemes.len() => {}
                Err(PullError::Request { source, .. }) if is_unanswered(&source) && failures.len() > before => {}
                Err(error @ (PullError::Request { .. } | PullError::Manifest { .. } | PullError::Blob { .. })) => {
                    let is_answered = !matches!(&error, PullError::Request { source, .. } if is_unanswered(source));
                    failures.push(error.to_string());
                    if is_answered {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
    Err(PullError::Places(failures))
}

/// The descriptor of the image's manifest, after all of it is in the layout, and its blobs.
async fn pull_from(
    endpoint: &Endpoint,
    is_plain: bool,
    Wanted { name, platform, parts }: Wanted<'_>,
    layout: &LayoutWriter,
    arrivals: Option<&Sender<Arrival>>,
) -> Result<(Descriptor, Vec<MovedBlob>), PullError> {
    let credentials = credentials::find(&credentials::files(), &endpoint.registry, &endpoint.repository)?;
    let failed =
        |source| PullError::Request { what: "connection".into(), image: name.whole(), source: Box::new(source) };
    let session = Session::new(endpoint, name, credentials, is_plain, Purpose::Pull).map_err(failed)?;
    let (manifest, bytes, unsure) = session.image_manifest(platform).await?;
    let parsed: ImageManifest = session.parse(&bytes)?;
    let layers = if parts == Parts::All { &parsed.layers()[..] } else { &[] };
    let wanted = distinct(std::iter::once(parsed.config()).chain(layers));
    let progress = Progress::of_bytes("fetch", wanted.iter().map(|blob| blob.size()).sum());
    let place = Place { layout, progress: &progress, arrivals };
    let known = match unsure {
        Some(platform) => Some(session.fetch_config_for(platform, parsed.config(), &place).await?),
        None => None,
    };
    place.tell(Arrival::Manifest(Box::new(parsed.clone())));
    let rest = wanted.into_iter().skip(known.iter().len());
    let fetches = rest.map(async |blob| {
        let moved = session.fetch(blob, &place).await?;
        place.tell(Arrival::Whole(blob.digest().clone()));
        Ok::<_, PullError>(moved)
    });
    let mut moved: Vec<_> = futures_util::stream::iter(fetches).buffered(PARALLEL).try_collect().await?;
    moved.splice(..0, known);
    // After what it leads to.
    layout.add_bytes(&bytes)?;
    let places = BlobPlaces::of_user();
    for blob in &moved {
        places.keep(&endpoint.registry, &endpoint.repository, &blob.digest);
    }
    Ok((manifest, moved))
}

/// Where blobs go, and who is told.
struct Place<'a> {
    layout: &'a LayoutWriter,
    progress: &'a Progress,
    arrivals: Option<&'a Sender<Arrival>>,
}

impl Place<'_> {
    fn tell(&self, arrival: Arrival) {
        // Nobody may listen any more.
        let _ = self.arrivals.map(|arrivals| arrivals.send(arrival));
    }

    /// Begins a blob. Who is told reads it while it is written.
    fn begin(&self, blob: &Descriptor) -> Result<(BlobWriter, PathBuf), LayoutError> {
        if self.arrivals.is_none() {
            return self.layout.new_blob();
        }
        let (writer, path, reader) = self.layout.new_shared_blob(blob.size())?;
        self.tell(Arrival::Begun(blob.digest().clone(), reader));
        Ok((writer, path))
    }
}

impl Session {
    /// The manifest for the platform, or for this machine, its bytes, and the platform if it is yet to
    /// be seen that it is for that.
    async fn image_manifest<'a>(
        &self,
        platform: Option<&'a Platform>,
    ) -> Result<(Descriptor, Vec<u8>, Option<&'a Platform>), PullError> {
        let (top, bytes) = self.manifest(&self.image).await?;
        let is_index = matches!(top.media_type(), MediaType::ImageIndex)
            || top.media_type().to_string().ends_with("manifest.list.v2+json");
        if !is_index {
            return Ok((top, bytes, platform));
        }
        let index: ImageIndex = self.parse(&bytes)?;
        let chosen = choose(&index, platform).map_err(|source| self.wrong_platform(source))?;
        let (manifest, bytes) = self.manifest(&self.image.clone_with_digest(chosen.digest().to_string())).await?;
        Ok((manifest, bytes, platform.filter(|_| chosen.platform().is_none())))
    }

    fn wrong_platform(&self, source: NoPlatform) -> PullError {
        PullError::Platform { image: self.image.whole(), source }
    }

    /// Fetches the config of an image, before anything else of it. Errors: it is not for the platform.
    async fn fetch_config_for(
        &self,
        platform: &Platform,
        config: &Descriptor,
        place: &Place<'_>,
    ) -> Result<MovedBlob, PullError> {
        let moved = self.fetch(config, place).await?;
        let read = || {
            let blob = place.layout.find_blob(config.digest(), config.size()).ok_or(io::ErrorKind::NotFound)?;
            serde_json::from_reader::<_, ImageConfiguration>(blob.take(MANIFEST_LIMIT as u64)).map_err(io::Error::from)
        };
        let wrong =
            |error: io::Error| PullError::Manifest { image: self.image.whole(), reason: format!("config: {error}") };
        platform.check(&read().map_err(wrong)?).map_err(|source| self.wrong_platform(source))?;
        Ok(moved)
    }

    /// A manifest or index by its tag or digest, verified.
    async fn manifest(&self, image: &Reference) -> Result<(Descriptor, Vec<u8>), PullError> {
        let wrong = |reason: &str| PullError::Manifest { image: image.whole(), reason: reason.to_owned() };
        let request = async || self.client.pull_manifest_raw(image, &self.auth, &MANIFESTS).await;
        let (bytes, digest) = retried(request).await.map_err(|source| {
            let (what, source) = ("manifest".into(), Box::new(source));
            PullError::Request { what, image: image.whole(), source }
        })?;
        if bytes.len() > MANIFEST_LIMIT {
            return Err(wrong("more than 4 MiB"));
        }
        let actual = crate::oci::hash_write::digest_of(&bytes[..]).map_err(|error| wrong(&error.to_string()))?.0;
        if image.digest().is_some_and(|wanted| wanted != actual.to_string()) || digest != actual.to_string() {
            return Err(wrong(&format!("it has digest {actual}")));
        }
        let fields: serde_json::Value = self.parse(&bytes)?;
        let media_type = match fields["mediaType"].as_str() {
            Some(text) => MediaType::from(text),
            None if fields["manifests"].is_array() => MediaType::ImageIndex,
            None => MediaType::ImageManifest,
        };
        Ok((Descriptor::new(media_type, bytes.len() as u64, actual), bytes.to_vec()))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, PullError> {
        serde_json::from_slice(bytes)
            .map_err(|error| PullError::Manifest { image: self.image.whole(), reason: error.to_string() })
    }

    /// Fetches a blob, unless it is there. What was received before a connection broke is kept.
    async fn fetch(&self, blob: &Descriptor, place: &Place<'_>) -> Result<MovedBlob, PullError> {
        let digest = blob.digest().clone();
        if let Some(there) = place.layout.find_blob(&digest, blob.size()) {
            place.tell(Arrival::Begun(digest, there));
            place.progress.add(blob.size());
            return Ok(MovedBlob::new(blob, Way::Present));
        }
        let wrong = |reason: String| PullError::Blob { digest: digest.clone(), image: self.image.whole(), reason };
        let (mut writer, path) = place.begin(blob)?;
        let mut written = 0;
        let mut tries = 0;
        loop {
            let before = written;
            let received = self.receive(blob, &mut writer, &mut written, place.progress).await;
            let Err(error) = received else { break };
            match error {
                // One that goes on is not given up.
                PullError::Request { ref source, .. } if may_pass(source) && written > before => tries = 0,
                PullError::Request { ref source, .. } if may_pass(source) && tries + 1 < TRIES => {
                    pause(tries).await;
                    tries += 1;
                }
                error => return Err(error),
            }
        }
        let new = place.layout.end_blob(writer, path)?;
        if new.size != blob.size() || new.digest != digest {
            return Err(wrong(format!(
                "{} bytes with digest {} came, where {} are wanted",
                new.size,
                new.digest,
                blob.size()
            )));
        }
        place.layout.keep(&new)?;
        Ok(MovedBlob::new(blob, Way::Moved))
    }

    /// Appends what is missing of a blob, of which `written` bytes are there.
    async fn receive(
        &self,
        blob: &Descriptor,
        writer: &mut BlobWriter,
        written: &mut u64,
        progress: &Progress,
    ) -> Result<(), PullError> {
        let digest = blob.digest();
        let failed = |source| {
            let source = Box::new(source);
            PullError::Request { what: format!("blob {digest}"), image: self.image.whole(), source }
        };
        let text = digest.to_string();
        let (mut stream, mut to_skip) = match *written {
            0 => (self.client.pull_blob_stream(&self.image, &*text).await.map_err(failed)?, 0),
            begin => {
                match self.client.pull_blob_stream_partial(&self.image, &*text, begin, None).await.map_err(failed)? {
                    BlobResponse::Partial(stream) => (stream, 0),
                    // The registry sends all of it again.
                    BlobResponse::Full(stream) => (stream, begin),
                }
            }
        };
        while let Some(chunk) = stream.stream.next().await {
            let chunk = chunk.map_err(|error| failed(OciDistributionError::IoError(error)))?;
            let skipped = usize::try_from(to_skip).unwrap_or(usize::MAX).min(chunk.len());
            to_skip -= skipped as u64;
            let rest = &chunk[skipped..];
            if *written + rest.len() as u64 > blob.size() {
                let reason = format!("it is larger than {} bytes", blob.size());
                return Err(PullError::Blob { digest: digest.clone(), image: self.image.whole(), reason });
            }
            writer.write_all(rest).map_err(|source| PullError::Write { digest: digest.clone(), source })?;
            *written += rest.len() as u64;
            progress.add(rest.len() as u64);
        }
        match *written == blob.size() {
            true => Ok(()),
            false => Err(failed(OciDistributionError::IoError(io::ErrorKind::UnexpectedEof.into()))),
        }
    }
}
