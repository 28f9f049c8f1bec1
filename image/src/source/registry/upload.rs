//! Sends blobs and manifests to a registry (distribution-spec, "Push").

use super::client::{READ_TIMEOUT, Session, may_pass, retried};
use crate::oci::blob::VerifyingReader;
use crate::progress::Progress;
use futures_util::future::{Either, select};
use oci_client::errors::OciDistributionError;
use oci_client::{Reference, RegistryOperation};
use oci_spec::image::{Descriptor, Digest};
use std::io::{self, Read};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;

/// Bytes that are read, and sent, at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that wait to be sent.
const WAITING: usize = 2;
/// A registry that has all bytes of a blob and does not answer for this long is given up: some move
/// the blob to other storage before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a blob was not sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The bytes can't be read, or are others than their descriptor says.
    Read(io::Error),
    Registry(OciDistributionError),
}

impl Session {
    /// Gets a token for sending, where the registry wants one. Errors: it wants other credentials.
    pub(crate) async fn log_in(&self) -> Result<(), OciDistributionError> {
        let log_in = async || {
            let login = self.client.auth(&self.image, &self.auth, RegistryOperation::Push);
            in_time(READ_TIMEOUT, login).await.map(drop)
        };
        retried(log_in).await
    }

    /// Whether the registry has the blob in the image's repository. One that does not say so gets it.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, OciDistributionError> {
        let digest = digest.to_string();
        let ask = async || match in_time(READ_TIMEOUT, self.client.blob_exists(&self.image, &digest)).await {
            Err(OciDistributionError::RequestError(error))
                if error.status().is_some_and(|status| matches!(status.as_u16(), 401 | 403 | 404 | 405)) =>
            {
                Ok(false)
            }
            result => result,
        };
        retried(ask).await
    }

    /// Makes the registry take the blob from another repository of its own. False: it has not, for
    /// whatever reason, and it is to be sent.
    pub(crate) async fn mount(&self, digest: &Digest, repository: &str) -> bool {
        let tag = String::from("latest");
        let from = Reference::with_tag(self.image.registry().to_owned(), repository.to_owned(), tag);
        let digest = digest.to_string();
        let mount = async { self.client_for(repository).await?.mount_blob(&self.image, &from, &digest).await };
        in_time(READ_TIMEOUT, mount).await.is_ok()
    }

    /// Sends a blob, chunk by chunk. `open` is called for each try.
    pub(crate) async fn send<R: Read>(
        &self,
        blob: &Descriptor,
        open: impl Fn() -> io::Result<R>,
        progress: &Progress,
    ) -> Result<(), SendError> {
        let once = async || {
            let mut sent = 0;
            let result = self.send_once(blob, &open, &mut sent, progress).await;
            if result.is_err() {
                progress.take_back(sent);
            }
            result
        };
        let mut tries = 1;
        loop {
            match once().await {
                Err(SendError::Registry(error)) if may_pass(&error) && tries < super::client::TRIES => {
                    super::client::pause(tries - 1).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn send_once<R: Read>(
        &self,
        blob: &Descriptor,
        open: &impl Fn() -> io::Result<R>,
        sent: &mut u64,
        progress: &Progress,
    ) -> Result<(), SendError> {
        let reader = open().map_err(SendError::Read)?;
        let reader =
            VerifyingReader::of_descriptor(reader, blob).map_err(|error| SendError::Read(io::Error::other(error)))?;
        let (sender, receiver) = channel::<Vec<u8>>(WAITING);
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            let chunk = receiver.recv().await?;
            Some((Ok(chunk.into()), receiver))
        });
        let digest = blob.digest().to_string();
        let request = pin!(self.client.push_blob_stream(&self.image, stream, &digest, Some(blob.size())));
        let feed = pin!(feed(reader, sender, sent, progress));
        let answer = match select(feed, request).await {
            // The request is dropped with the connection where the bytes are wrong.
            Either::Left((fed, request)) => {
                fed?;
                in_time(ANSWER_TIMEOUT, request).await
            }
            Either::Right((answer, _)) => answer,
        };
        answer.map(drop).map_err(SendError::Registry)
    }

    /// Sends a manifest, which makes the image of the blobs.
    pub(crate) async fn put_manifest(&self, bytes: &[u8], media_type: &str) -> Result<(), OciDistributionError> {
        let put = async || {
            let media_type = media_type
                .parse()
                .map_err(|_| OciDistributionError::UnsupportedMediaTypeError(media_type.to_owned()))?;
            let put = self.client.push_manifest_raw(&self.image, bytes.to_vec(), media_type);
            in_time(ANSWER_TIMEOUT, put).await.map(drop)
        };
        retried(put).await
    }
}

/// Passes the bytes on as fast as they are taken. The last ones are passed on after all of them were
/// verified, so that wrong ones never make a blob.
async fn feed(
    mut reader: VerifyingReader<impl Read>,
    sender: Sender<Vec<u8>>,
    sent: &mut u64,
    progress: &Progress,
) -> Result<(), SendError> {
    let mut last = read_chunk(&mut reader).map_err(SendError::Read)?;
    while !last.is_empty() {
        let next = read_chunk(&mut reader).map_err(SendError::Read)?;
        if next.is_empty() {
            break;
        }
        if !pass_on(&sender, std::mem::replace(&mut last, next), sent, progress).await? {
            return Ok(());
        }
    }
    reader.finish().map_err(SendError::Read)?;
    if !last.is_empty() {
        pass_on(&sender, last, sent, progress).await?;
    }
    Ok(())
}

/// False where the request has ended, whose answer says why.
async fn pass_on(
    sender: &Sender<Vec<u8>>,
    chunk: Vec<u8>,
    sent: &mut u64,
    progress: &Progress,
) -> Result<bool, SendError> {
    let count = chunk.len() as u64;
    match timeout(READ_TIMEOUT, sender.send(chunk)).await {
        Ok(Ok(())) => {
            *sent += count;
            progress.add(count);
            Ok(true)
        }
        Ok(Err(_)) => Ok(false),
        Err(_) => Err(SendError::Registry(stalled())),
    }
}

fn read_chunk(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

async fn in_time<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, OciDistributionError>>,
) -> Result<T, OciDistributionError> {
    timeout(limit, request).await.unwrap_or_else(|_| Err(stalled()))
}

fn stalled() -> OciDistributionError {
    OciDistributionError::IoError(io::Error::new(io::ErrorKind::TimedOut, "the registry does not go on"))
}
