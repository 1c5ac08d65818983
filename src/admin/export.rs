//! Sends the content of images to a client of the admin socket. Blobs are read by the functions that answer clients:
//! what is missing is fetched, nothing is evicted while it is read, and what the disk does not take passes through.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, stream};

use super::{
    AdminResponse,
    ahead::Ahead,
    answers::{Answers, ClientGone},
    image_messages::ExportedImage,
    images::{Address, ImagesRequest, MAX_CONCURRENT_IMAGES},
};
use crate::{
    oci::{ByteRange, Digest, PlatformSelection, Repository},
    registry::{Blob, CacheStatus, Error, ImageContent, ImageError, Registry, StoredManifest},
};

/// The most blobs that are opened ahead of the one that is sent, and with it fetched.
const BLOBS_AHEAD: usize = 3;
/// The most bytes of a message.
const MAX_CHUNK_BYTES: u64 = 256 << 10;

/// The reason that an export ended early.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    /// The images that cannot be had, with the reasons.
    #[error("{0}")]
    Images(String),
    /// A blob cannot be had.
    #[error("{digest}: {error}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// The reason.
        error: Error,
    },
    /// Nobody receives it.
    #[error(transparent)]
    Gone(#[from] ClientGone),
}

/// An image to send.
struct ExportImage {
    message: ExportedImage,
    repository: Repository,
    /// The one that the name refers to is the first.
    manifests: Vec<Arc<StoredManifest>>,
    blobs: Vec<Digest>,
}

/// Executes a request to export images until it is done or its client has left.
pub(super) async fn serve(registry: &Arc<Registry>, images: &[String], platforms: &[String], answers: Answers) {
    let request = match ImagesRequest::parse(images, platforms) {
        Ok(request) => request,
        Err(message) => return answers.queue(AdminResponse::Failed { message }).await,
    };
    let beat = answers.beat(|| AdminResponse::Progress { done: 0, of: None, bytes: 0 });
    tokio::select! {
        exported = export(registry, &request, &answers) => {
            let last = exported.unwrap_or_else(|error| AdminResponse::Failed { message: error.to_string() });
            answers.queue(last).await;
        }
        () = beat => {}
        () = answers.closed() => tracing::info!("admin client left; its export is cancelled"),
    }
}

async fn export(
    registry: &Arc<Registry>,
    request: &ImagesRequest,
    answers: &Answers,
) -> Result<AdminResponse, ExportError> {
    let images = contents(registry, request).await?;
    for image in &images {
        answers.queue(AdminResponse::Export(image.message.clone())).await;
    }
    let mut sent = HashSet::new();
    for manifest in images.iter().flat_map(|image| &image.manifests) {
        if sent.insert(manifest.digest) {
            answers.queue(blob_begun(&manifest.digest, manifest.bytes.len() as u64, true)).await;
            for at in (0..manifest.bytes.len()).step_by(chunk_length(u64::MAX)) {
                let end = manifest.bytes.len().min(at + chunk_length(u64::MAX));
                answers.queue_chunk(manifest.bytes.slice(at..end)).await?;
            }
        }
    }
    let blobs = images.iter().flat_map(|image| image.blobs.iter().map(|digest| (&image.repository, *digest)));
    let blobs: Vec<_> = blobs.filter(|(_, digest)| sent.insert(*digest)).collect();
    let opening = blobs.into_iter().map(|(repository, digest)| open(Arc::clone(registry), repository.clone(), digest));
    let mut opened = Ahead::new(opening, BLOBS_AHEAD);
    while let Some(blob) = opened.next().await {
        let (digest, blob) = blob?;
        send(registry, &digest, &blob, answers).await?;
    }
    Ok(AdminResponse::Exported { images: images.len() as u64, blobs: sent.len() as u64 })
}

fn blob_begun(digest: &Digest, bytes: u64, is_manifest: bool) -> AdminResponse {
    AdminResponse::BlobBegun { digest: digest.to_string(), bytes, manifest: is_manifest }
}

/// Returns the content of all images, or the reasons that some cannot be had.
async fn contents(registry: &Arc<Registry>, request: &ImagesRequest) -> Result<Vec<ExportImage>, ExportError> {
    let addressed = request.addressed(registry).await;
    let looks = addressed.into_iter().map(|(name, address)| async move {
        let image = content(registry, address, &request.platforms).await;
        image.map_err(|error| format!("{name}: {error}"))
    });
    let images: Vec<_> =
        stream::iter(looks.collect::<Vec<_>>()).buffered(MAX_CONCURRENT_IMAGES).collect::<Vec<_>>().await;
    let failed: Vec<_> = images.iter().filter_map(|image| image.as_ref().err().cloned()).collect();
    if failed.is_empty() {
        return Ok(images.into_iter().flatten().collect());
    }
    Err(ExportError::Images(failed.join("; ")))
}

async fn content(
    registry: &Arc<Registry>,
    address: Result<Address, ImageError>,
    platforms: &PlatformSelection,
) -> Result<ExportImage, ImageError> {
    let (repository, reference) = address?;
    let content = registry.image_content(&repository, &reference, platforms).await?;
    let stale = content.manifests.iter().any(|(_, status)| matches!(status, CacheStatus::Stale { .. }));
    let blobs = content.blobs.iter().map(|blob| blob.digest).collect();
    let manifests = manifests(content, platforms);
    let top = manifests.first().ok_or_else(|| ImageError::Unknown(repository.clone()))?;
    let message = ExportedImage::new(&repository, &reference, top, stale);
    Ok(ExportImage { message, repository, manifests, blobs })
}

/// Returns the manifests to send: of one platform, its own, since an index would name manifests that are left out.
fn manifests(content: ImageContent, platforms: &PlatformSelection) -> Vec<Arc<StoredManifest>> {
    let all: Vec<_> = content.manifests.into_iter().map(|(manifest, _)| manifest).collect();
    let alone: Vec<_> = all.iter().filter(|manifest| !manifest.media_type().is_index()).map(Arc::clone).collect();
    if *platforms != PlatformSelection::All && alone.len() == 1 { alone } else { all }
}

async fn open(registry: Arc<Registry>, repository: Repository, digest: Digest) -> Result<(Digest, Blob), ExportError> {
    let blob = registry.blob(&repository, &digest).await;
    blob.map(|blob| (digest, blob)).map_err(|error| ExportError::Blob { digest, error })
}

/// Sends all bytes of a blob.
async fn send(registry: &Registry, digest: &Digest, blob: &Blob, answers: &Answers) -> Result<(), ExportError> {
    answers.queue(blob_begun(digest, blob.size, false)).await;
    let mut reader = blob.read(ByteRange { start: 0, end: blob.size });
    let failed = |error| ExportError::Blob { digest: *digest, error };
    while let Some(bytes) = reader.next_bytes(registry.lanes(), chunk_length(u64::MAX)).await.map_err(failed)? {
        answers.queue_chunk(bytes).await?;
    }
    Ok(())
}

/// Returns the length of the next message, of `bytes` that are left.
fn chunk_length(bytes: u64) -> usize {
    usize::try_from(bytes.min(MAX_CHUNK_BYTES)).unwrap_or_default()
}
